"""A lease while its run is executed: renewed, lost, and the folder that is pushed under it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fl_platform.grid.leases import Lease, LeaseTable
from fl_platform.tracking.folder_archive import pack
from fl_platform.tracking.mlflow.artifact_place import ArtifactPlace
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.run_folder import RunFolder, runs_root

JOIN = 5.0  # seconds to wait for a push at the end of a run
SCRATCH = ".transfer-"


class LeaseGuard(Callback):
    """Pushes a run at its start, and ends it with a checkpoint when its lease was lost."""

    def __init__(self, held: HeldLease) -> None:
        self.held = held

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Push the identity, so that a worker that takes over continues the same MLflow run."""
        with contextlib.suppress(StoreError, OSError):
            self.held.push()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Stop the trainer if another worker may execute the run."""
        if self.held.lost:
            trainer.should_stop = True


class Repeated(threading.Thread):
    """Calls a function every ``seconds`` until the end of a ``with`` block."""

    def __init__(self, call: Callable[[], None], seconds: float) -> None:
        super().__init__(daemon=True)
        self.call, self.seconds, self._end = call, seconds, threading.Event()

    def run(self) -> None:
        """Call and wait in turn."""
        while not self._end.wait(self.seconds):
            self.call()

    def __enter__(self) -> Repeated:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self.join(JOIN)


class HeldLease:
    """The lease that this worker holds, and the copy of its run folder.

    Args:
        claimed: monotonic time before the lease was claimed.
    """

    def __init__(
        self,
        leases: LeaseTable,
        place: ArtifactPlace,
        folder: RunFolder,
        lease: Lease,
        claimed: float,
    ) -> None:
        self.leases, self.place, self.folder = leases, place, folder
        self.run, self.token = lease.run, lease.token
        self._refused, self._renewed = False, claimed
        self._archive, self._turn = lease.archive, threading.Lock()
        self._pushed: tuple[int, int] | None = None

    def begin(self) -> None:
        """Take the present checkpoint as pushed."""
        self._pushed = self._checkpoint()

    @property
    def lost(self) -> bool:
        """Whether another worker has the lease, or may have it since no renewal was possible."""
        return self._refused or time.monotonic() - self._renewed > self.leases.seconds

    def renew(self) -> None:
        """Extend the lease by its length from now; an outage of the database is waited for."""
        asked = time.monotonic()
        with contextlib.suppress(StoreError):
            if self.leases.renew(self.run, self.token):
                self._renewed = asked
            else:
                self._refused = True

    def push_checkpoint(self) -> None:
        """Push the folder if it has a new checkpoint; an outage is retried with the next one."""
        if self._checkpoint() in (None, self._pushed) or self.lost:
            return
        with contextlib.suppress(StoreError, OSError):
            self.push()

    def push(self) -> None:
        """Push the folder; the copy before is removed only after the lease names the new one."""
        with self._turn, scratch_folder(self.folder) as scratch:
            seen = self._checkpoint()
            file = scratch / f"{self.run[:16]}-{self.token}-{time.time_ns()}.tar"
            digest = pack(self.folder, file)
            self.place.push(file)
            new = seen not in (None, self._pushed)
            if not self.leases.pushed(self.run, self.token, file.name, digest, new=new):
                self._refused = True
                self.place.remove(file.name)
                return
            if self._archive:
                self.place.remove(self._archive)
            self._archive, self._pushed = file.name, seen

    def _checkpoint(self) -> tuple[int, int] | None:
        try:
            status = self.folder.checkpoint.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


@contextmanager
def scratch_folder(folder: RunFolder) -> Iterator[Path]:
    """A temporary folder on the file system of the run folders."""
    root = folder.path.parents[1]
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-", dir=root) as name:
        yield Path(name)


def remove_left_behind(home: Path) -> None:
    """Remove the temporary folders of killed workers."""
    for left in runs_root(home).parent.glob(f"{SCRATCH}*-*"):
        process = left.name.removeprefix(SCRATCH).partition("-")[0]
        if process.isdecimal() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(left, ignore_errors=True)
