"""A worker of a grid: pull the next free run, execute it, repeat, leave when none is free."""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fl_platform.config import ConfigError
from fl_platform.core.process import Stopper
from fl_platform.core.terminal import wide_output
from fl_platform.grid.grid_run import join_grid_run
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.local_executor import gpus
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.progress_table import ProgressTable
from fl_platform.grid.runner import GridResult, Options, finish, set_threads, with_options
from fl_platform.grid.spec import Grid
from fl_platform.grid.worker import run_one
from fl_platform.run.lookup import Seen
from fl_platform.tracking.lock import in_use
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import run_folder
from fl_platform.tracking.uploader import follow

TRIES = 3  # starts without a new round, by all workers, before a run counts as failed
PAUSE = 1.0  # seconds between the two scans that find no free run


@dataclass(frozen=True)
class SharedStore:
    """What workers without a shared folder share.

    Attributes:
        database: address of the PostgreSQL database with the leases.
        artifacts: address of the place for checkpoints; empty: that of the MLflow server.
        seconds: length of a lease.
    """

    database: str
    artifacts: str = ""
    seconds: float = 60.0


class Claims(Protocol):
    """Agreement between workers on who executes which run."""

    def look(self, job: Job) -> None:
        """Set the state of ``job`` to what all workers together know of its run."""

    def hold(self, job: Job) -> AbstractContextManager[Sequence[Any] | None]:
        """Own the run of ``job``: its callbacks, or ``None`` and the state of ``job``."""

    def ended(self, job: Job) -> None:
        """Record the outcome of ``job`` for the other workers, before `hold` is left."""


class FolderClaims:
    """Ownership by the locks of run folders, on one machine or over a shared file system."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._seen: Seen = {}

    def look(self, job: Job) -> None:
        """Read the lock, the result and the journal of the run."""
        folder = run_folder(self.home, job.planned.config_hash)
        if in_use(folder.lock):
            job.state = "running in another process"
            return
        try:
            job.recall(self.home, self._seen)
            starts = folder.history().starts
        except RecordError as error:
            give_up(job, str(error))
            return
        if job.state == "done":
            return
        if starts >= TRIES:
            give_up(job, f"{starts} starts without a new round")
        elif job.state == "running in another process":
            job.state = "waiting"

    @contextmanager
    def hold(self, job: Job) -> Iterator[Sequence[Any] | None]:
        """The run takes the lock of its folder itself."""
        yield ()

    def ended(self, job: Job) -> None:
        """The journal has the outcome."""


class PullWorker:
    """Executes free runs of a table in this process, one after the other.

    A run that failed in this worker is left to the others. A run that was started `TRIES` times
    without a new round counts as failed for all workers.

    Args:
        begun: called with the folder of each run before its start.
    """

    def __init__(
        self, home: Path, claims: Claims, parent_run_id: str, begun: Callable[[Path], None]
    ) -> None:
        self.home, self.claims, self.parent_run_id, self.begun = home, claims, parent_run_id, begun
        self.executed = 0

    def work(
        self, table: JobTable, changed: Callable[[Job | None], None], stop: Callable[[], bool]
    ) -> None:
        """Execute runs until a stop, or until two scans find none that is free."""
        first = secrets.randbelow(len(table.jobs))  # workers do not ask for the same run at once
        jobs = [*table.jobs[first:], *table.jobs[:first]]
        scans = 0
        while not stop() and scans < 2:
            job = self._next(jobs, changed)
            if job is not None:
                scans = 0
                self._execute(job)
                changed(job)
                continue
            scans = 2 if table.complete else scans + 1
            if scans < 2:
                time.sleep(PAUSE)
        for job in table.of_state("failed"):  # another worker may have finished it
            self.claims.look(job)

    def _next(self, jobs: Sequence[Job], changed: Callable[[Job | None], None]) -> Job | None:
        """The next free run; runs that others have ended are marked on the way."""
        for state in ("waiting", "running in another process"):
            for job in jobs:
                if job.state == state:
                    self.claims.look(job)
                    if job.state == "waiting":
                        return job
                    if job.state != "running in another process":
                        changed(job)
        return None

    def _execute(self, job: Job) -> None:
        with self.claims.hold(job) as callbacks:
            if callbacks is None:
                return
            job.begin()
            self.begun(run_folder(self.home, job.planned.config_hash).path)
            config = job.planned.config
            job.take(*run_one(config, self.home, self.parent_run_id, callbacks))
            self.executed += job.state in ("done", "failed")
            self.claims.ended(job)


def give_up(job: Job, why: str) -> None:
    """Mark ``job`` as failed for all workers; the reason of this worker's own failure is kept."""
    if job.state != "failed":
        job.fail(f"{why}; the same command without --worker tries it again")


def pull(
    grid: Grid,
    planned: list[PlannedRun],
    home: Path,
    options: Options,
    typed: Sequence[str] = (),
    leases: SharedStore | None = None,
) -> GridResult:
    """Execute free runs of a grid until none is left; other workers execute the others.

    A run whose worker was killed is free again and continues from its checkpoint. Of workers that
    share the folder, the last one to leave writes the report.

    Args:
        leases: database and artifacts of workers that share no folder.

    Raises:
        ConfigError: ``runtime.fresh``.
    """
    if any(run.config.runtime.fresh for run in planned):
        raise ConfigError(
            "runtime.fresh: expected false with --worker, got true: each worker would start each"
            " run again. Start the grid once without --worker."
        )
    choose_gpu()
    set_threads()
    planned = [replace(run, config=with_options(run.config, options)) for run in planned]
    table = JobTable.of(planned, home)
    claims: Claims = FolderClaims(home)
    joined = functools.partial(join_grid_run, grid, planned, home)
    if leases is not None:
        from fl_platform.grid.leased_runs import LeaseClaims, join_by_lease

        claims = LeaseClaims(home, leases, table)
        joined = functools.partial(join_by_lease, grid, planned, home, claims.leases)
    tracking = planned[0].config.runtime.tracking
    with Stopper() as stopper, joined() as parent:
        parent.start(typed)
        follow(home, tracking, parent.folder.path)
        begun = functools.partial(follow, home, tracking)
        worker = PullWorker(home, claims, parent.run_id, begun)
        with ProgressTable(table, home) as progress:
            worker.work(table, progress.changed, lambda: stopper.signal is not None)
        result = GridResult(table, parent, stopper.signal or 0)
        _print_counts(table, worker.executed)
        if leases is None and (table.complete or result.signal):
            finish(result, home, options)
        else:
            parent.finish(table, result.signal)
    return result


def _print_counts(table: JobTable, executed: int) -> None:
    elsewhere = len(table.of_state("running in another process"))
    wide_output().print(
        f"worker: {executed} runs executed here; {len(table.of_state('done'))} of"
        f" {len(table.jobs)} finished, {elsewhere} running in other workers,"
        f" {len(table.of_state('failed'))} failed"
    )
    for job in table.of_state("failed"):
        wide_output().print(f"failed: {job.planned.name}: {job.reason}", soft_wrap=True)


def choose_gpu() -> None:
    """Use one GPU, by the local rank that torchrun or srun gives; does nothing without a rank."""
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", ""))
    cards = gpus()
    if local.isdecimal() and len(cards) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[int(local) % len(cards)]
