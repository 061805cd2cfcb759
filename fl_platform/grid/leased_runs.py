"""Runs of a grid under leases: claimed, fetched from the worker before, handed to all others."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_platform.config import ConfigError
from fl_platform.core.text import reason
from fl_platform.grid.grid_run import GridRun, join_grid_run, plan_hash
from fl_platform.grid.held_lease import (
    JOIN,
    HeldLease,
    LeaseGuard,
    Repeated,
    remove_left_behind,
    scratch_folder,
)
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.leases import Lease, LeaseTable
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.pull import TRIES, SharedStore, give_up
from fl_platform.grid.spec import Grid
from fl_platform.run.result import Result, finished
from fl_platform.tracking.folder_archive import unpack
from fl_platform.tracking.lock import RunOwned, in_use
from fl_platform.tracking.mlflow.artifact_place import ArtifactPlace
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder, run_folder

log = logging.getLogger(__name__)
ANY = 2**31 - 1  # tries of a run whose result is here already
BEATS = 4  # renewals per length of a lease
SERVED = "mlflow-artifacts:/fl-platform-checkpoints"
# Refusals of a run by one worker that another worker, with other data or hardware, may accept.
REFUSALS = ("ConfigError", "DataError", "IdentityMismatch", "OtherData", "MissingPackage")


class LeaseClaims:
    """Ownership by leases, for workers with workspaces of their own; see `pull.Claims`.

    Args:
        table: jobs of the grid. Results that only this workspace has are handed to the others.
    """

    def __init__(self, home: Path, store: SharedStore, table: JobTable) -> None:
        self.home = home
        self.owner = f"{socket.gethostname()}:{home}"
        self.place = ArtifactPlace(store.artifacts or served())
        self.leases = LeaseTable(store.database, self.owner, store.seconds)
        self._held: HeldLease | None = None
        remove_left_behind(home)
        for job in table.of_state("done"):
            job.state, job.before = "waiting", True

    def look(self, job: Job) -> None:
        """Read the lease of the run; fetch the run if this workspace has an unfinished copy."""
        run = job.planned.config_hash
        lease, folder = self.leases.look(run), run_folder(self.home, run)
        if lease is not None and lease.state == "done":
            self._take_result(job, lease, folder)
        elif in_use(folder.lock) or (lease is not None and not lease.free):
            job.state = "running in another process"
        elif lease is not None and lease.starts >= TRIES and not job.before:
            give_up(job, lease.reason or f"{lease.starts} starts without a new checkpoint")
        elif job.state == "running in another process":
            job.state = "waiting"

    @contextmanager
    def hold(self, job: Job) -> Iterator[Sequence[Any] | None]:
        """Claim the run, fetch what another worker pushed, and renew until the end."""
        run, asked = job.planned.config_hash, time.monotonic()
        token = self.leases.claim(run, ANY if job.before else TRIES)
        job.state = "running in another process"  # until this worker has the lease
        if token is None:
            yield None
            return
        folder = run_folder(self.home, run)
        try:
            lease = self.leases.look(run)
            if lease is None or lease.token != token:  # removed, or already claimed by another
                yield None
                return
            held = self._held = HeldLease(self.leases, self.place, folder, lease, asked)
            pause = self.leases.seconds / BEATS
            with Repeated(held.renew, pause):  # a large run may take longer than a lease to fetch
                if not self._has_newest(lease, folder, job):
                    yield None
                    return
                held.begin()
                with Repeated(held.push_checkpoint, pause):
                    yield (LeaseGuard(held),)
        finally:  # after an outcome the lease has ended, and this does nothing
            self._held = None
            with contextlib.suppress(StoreError):
                self.leases.give_back(run, token)

    def ended(self, job: Job) -> None:
        """Push the folder and record the result, or free the run."""
        held = self._held
        assert held is not None
        if job.state == "failed":
            counted = not job.reason.startswith(REFUSALS)
            self.leases.give_back(held.run, held.token, job.reason, counted=counted)
        elif held.lost:
            job.state = "running in another process"
        elif job.state == "done" and job.result is not None:
            held.push()
            if not self.leases.finish(held.run, held.token, job.result.to_json()):
                job.state = "running in another process"
        else:  # stopped: the process must end soon, whatever the store does
            last = threading.Thread(target=held.push_checkpoint, daemon=True)
            last.start()
            last.join(JOIN)

    def _take_result(self, job: Job, lease: Lease, folder: RunFolder) -> None:
        try:
            if folder.used and finished(self.home, lease.run) is None:
                self._fetch(lease, folder)
        except (RecordError, RunOwned) as error:  # the result is known, with or without a copy
            log.warning("%s: no copy of the finished run here: %s", job.planned.name, error)
        try:
            job.end(Result.from_json(lease.stored))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            got = f"{type(error).__name__}: {reason(error)}"
            give_up(job, f"expected a result of this version in the table of leases, got {got}")

    def _has_newest(self, lease: Lease, folder: RunFolder, job: Job) -> bool:
        """Fetch the pushed copy of the run if it is newer; ``False``: not possible here."""
        mine = folder.used and lease.pushed_by == self.owner
        try:
            if lease.archive and not mine and finished(self.home, lease.run) is None:
                self._fetch(lease, folder)
        except RunOwned:
            return False
        except RecordError as error:
            job.fail(str(error))
            self.ended(job)
            return False
        return True

    def _fetch(self, lease: Lease, folder: RunFolder) -> None:
        with scratch_folder(folder) as scratch:
            unpack(self.place.fetch(lease.archive, scratch), lease.sha256, folder, scratch)


@contextmanager
def join_by_lease(
    grid: Grid, planned: Sequence[PlannedRun], home: Path, leases: LeaseTable
) -> Iterator[GridRun]:
    """Share the parent run with workers of other workspaces: the first one writes its identity."""
    identity = plan_hash(grid.name, planned)
    join = functools.partial(join_grid_run, grid, planned, home)
    lease = leases.look(identity)
    if lease is None:
        with join() as own:
            known = leases.remember(identity, own.folder.describe() or {})
    else:
        known = lease.stored
    with join(known) as parent:
        yield parent


def served() -> str:
    """The place for checkpoints of the MLflow server that ``MLFLOW_TRACKING_URI`` names.

    Raises:
        ConfigError: it names no server.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        raise ConfigError(
            "--artifacts: expected a place for checkpoints that all workers reach, such as"
            " s3://bucket/folder, or MLFLOW_TRACKING_URI=http://… of an MLflow server."
        )
    return SERVED
