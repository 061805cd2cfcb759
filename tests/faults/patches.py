"""What a trial may change in its fork: clocks and planted faults, each by name with an argument."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Any


def commit_every(seconds: float) -> None:
    """Another least interval between commits, so that short runs commit often."""
    from fl_platform.tracking.active_run import CheckpointInterval

    CheckpointInterval.__init__.__kwdefaults__["minimum"] = seconds
    if seconds == 0:
        CheckpointInterval.due = lambda self: True  # type: ignore[method-assign]


def forget(rule: str) -> None:
    """A planted fault: the class ``rule`` of the defenses no longer saves what it remembers."""
    from fl_platform import defenses

    holder: Any = getattr(defenses, rule)
    holder.state_dict = lambda self: {}
    holder.load_state_dict = lambda self, state: None


def full_disk_at(method: str) -> None:
    """A planted fault: writing a figure finds the disk full."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    setattr(FigureCanvasAgg, method, fail)


def mask(bits: int) -> None:
    """Another mask of permissions for what is created."""
    os.umask(bits)


def connect_only(where: str) -> None:
    """Instead of the program: open the store at ``where`` and make a run in it."""
    from fl_platform import cli
    from fl_platform.tracking.mlflow import store

    def connect() -> None:
        client = store.connect(where)
        client.create_run(store.experiment_id(client, store.tracking_uri(where), "digits"))

    cli.main = connect


def tell_commits(_: None) -> None:
    """Print at the end what share of the run's time its commits took."""
    from fl_platform.federated.callbacks.checkpointing import Commit

    def tell(self: Commit, *_: Any) -> None:
        print(f"commits: {self.record.cadence.spent} of {time.monotonic() - self.begun} s")

    def begin(self: Commit, *_: Any) -> None:
        self.begun = time.monotonic()

    Commit.on_fit_start, Commit.on_train_end = begin, tell  # type: ignore[method-assign]


def terminate_at(hook: str) -> None:
    """SIGTERM to ourselves inside ``hook`` of the trainer's callbacks."""
    from fl_platform.federated.callbacks.checkpointing import Commit

    def hooked(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    setattr(Commit, hook, hooked)


def signal_while_composing(number: int) -> None:
    """A signal to ourselves before there is a run that listens for it."""
    from fl_platform import cli

    cli._compose = lambda *_: os.kill(os.getpid(), number)


def tries(number: int) -> None:
    """Another number of starts without progress after which a run of a grid counts as failed."""
    from fl_platform.grid import leased_runs, pull

    pull.TRIES = leased_runs.TRIES = number
