"""The jobs of a grid and their states; executors write them, the terminal shows them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fl_platform.grid.plan import PlannedRun
from fl_platform.run.lookup import OtherData, Seen, complete
from fl_platform.run.result import Result, finished
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import run_folder

State = Literal["waiting", "running", "running in another process", "done", "failed"]


@dataclass
class Job:
    """A planned run and its state.

    Attributes:
        state: ``done`` includes runs that diverged.
        reason: cause of a failure, one line; ``trace``: the traceback.
        seconds: time in this process of a run that ended.
        round: number of finished rounds; ``accuracy``: the latest, in percent.
        before: whether the result existed before this grid started.
        tries: number of worker processes that ended unexpectedly during this run.
        replaced: id of the run that a restart replaces.
    """

    planned: PlannedRun
    state: State = "waiting"
    result: Result | None = None
    reason: str = ""
    trace: str = ""
    started: float = 0.0
    seconds: float = 0.0
    round: int = 0
    accuracy: float | None = None
    before: bool = False
    tries: int = 0
    replaced: str = ""

    def begin(self) -> None:
        """Mark the job as running from now on."""
        self.state, self.started = "running", time.monotonic()

    def end(self, result: Result) -> None:
        """Store the result; a run that was stopped waits again."""
        self.seconds = time.monotonic() - self.started if self.started else result.seconds
        self.round = result.rounds
        if result.status in ("FINISHED", "DIVERGED"):
            self.state, self.result, self.accuracy = "done", result, result.accuracy_tail
        else:
            self.state = "waiting"

    def recall(self, home: Path, seen: Seen) -> None:
        """End the job if its run has a stored result; fail it if that is a result of other data.

        Args:
            seen: digests of data, shared by the jobs of a grid.

        Raises:
            RecordError: a wrong file in the run's folder.
        """
        try:
            result = complete(self.planned.config, home, seen)
        except OtherData as error:
            self.fail(str(error))
            return
        if result is not None:
            self.end(result)

    def outcome(self, home: Path) -> Result | None:
        """The stored result of the run; ``None`` for the one that a restart replaces.

        Raises:
            RecordError: a wrong file in the run's folder.
        """
        result = finished(home, self.planned.config_hash)
        return None if result is None or result.run_id == self.replaced else result

    def take(self, state: str, value: Any, trace: str) -> None:
        """Set the state from a message about its run; see `worker.run_one`."""
        if state == "ended":
            self.end(value)
        elif state == "failed":
            self.fail(value, trace)
        else:
            self.state, self.reason = "running in another process", value

    def fail(self, reason: str, trace: str = "") -> None:
        """Mark the job as failed because of ``reason``."""
        self.seconds = time.monotonic() - self.started if self.started else 0.0
        self.state, self.reason, self.trace = "failed", reason, trace


@dataclass
class JobTable:
    """The jobs of a grid in order.

    Attributes:
        workers: number of worker processes.
        expected: seconds per job before the first one has ended, if known.
        began: monotonic time at which the grid started.
    """

    jobs: list[Job]
    workers: int = 1
    expected: float | None = None
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, planned: Sequence[PlannedRun], home: Path, *, fresh: bool = False) -> JobTable:
        """Build the table of ``planned``.

        A job with a stored result is done, unless ``fresh``; a job whose stored result belongs to
        other data has failed.
        """
        table = cls([Job(run) for run in planned])
        seen: Seen = {}
        for job in table.jobs:
            if fresh or job.planned.config.runtime.fresh:
                with contextlib.suppress(RecordError):  # a damaged run is replaced as well
                    known = run_folder(home, job.planned.config_hash).describe()
                    job.replaced = known["run_id"] if known else ""
                continue
            job.recall(home, seen)
            job.before = job.state == "done"
        return table

    def of_state(self, *states: State) -> list[Job]:
        """Jobs in any of ``states``."""
        return [job for job in self.jobs if job.state in states]

    @property
    def complete(self) -> bool:
        """Whether no job waits or runs, here or in another process."""
        return not self.of_state("waiting", "running", "running in another process")

    def left(self) -> float | None:
        """Estimated seconds until all jobs are done, from the mean of the ended ones.

        None: no job has ended and ``expected`` is unknown.
        """
        ended = [job.seconds for job in self.of_state("done") if not job.before]
        mean = sum(ended) / len(ended) if ended else self.expected
        if mean is None:
            return None
        now = time.monotonic()
        running = sum(max(0.0, mean - (now - job.started)) for job in self.of_state("running"))
        return (mean * len(self.of_state("waiting")) + running) / max(1, self.workers)
