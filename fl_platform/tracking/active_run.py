"""Tracking of one active run: open, resume, log, commit, finish."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from fl_platform.core.outside import read_file
from fl_platform.core.text import reason
from fl_platform.tracking.atomic import remove_orphans
from fl_platform.tracking.checkpoint import CheckpointFile
from fl_platform.tracking.history import JournalError
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lightning import flat
from fl_platform.tracking.lock import RunLock, RunOwned, take
from fl_platform.tracking.run_folder import RunFolder, head, run_folder, write_json
from fl_platform.tracking.stamp import Stamper
from fl_platform.tracking.summary import accuracies
from fl_platform.tracking.system_metrics import MachineSampler
from fl_platform.tracking.uploader import follow


class CheckpointInterval:
    """The interval between commits, checked at the end of each round.

    A commit is due ``max(minimum, cost / share)`` seconds after the end of the last one, where
    ``cost`` is the mean time of the last three commits. Commits thus take at most about ``share``
    of a run on any disk, and a kill loses at most that interval and one round.

    Args:
        minimum: least number of seconds between two commits.
        share: share of the time for commits, in (0, 1).
        clock: monotonic seconds from any origin.
    """

    def __init__(
        self,
        *,
        minimum: float = 1.0,
        share: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not minimum >= 0 or not 0 < share < 1:
            raise ValueError(
                f"Expected minimum >= 0 and 0 < share < 1, got minimum={minimum}, share={share}."
            )
        self.minimum = minimum
        self.share = share
        self.spent = 0.0
        self._clock = clock
        self._last = clock()
        self._begun: float | None = None
        self._costs: deque[float] = deque(maxlen=3)

    @property
    def interval(self) -> float:
        """Seconds from the end of a commit to the next commit."""
        cost = sum(self._costs) / len(self._costs) if self._costs else 0.0
        return max(self.minimum, cost / self.share)

    def due(self) -> bool:
        """True if a commit is due at the end of this round."""
        return self._clock() - self._last >= self.interval

    def __enter__(self) -> CheckpointInterval:
        self._begun = self._clock()
        return self

    def __exit__(self, *error: object) -> None:
        now = self._clock()
        cost = now - (now if self._begun is None else self._begun)
        self.spent += cost
        self._costs.append(cost)
        self._last = now


Status = Literal["FINISHED", "KILLED", "FAILED", "DIVERGED"]
_FINAL = ("FINISHED", "DIVERGED")
_TURNS = 100


class ActiveRun:
    """The folder of one run, opened under its lock.

    On an exception the run is marked KILLED (a signal) or FAILED, and can be resumed.
    """

    def __init__(
        self, folder: RunFolder, lock: RunLock, home: Path, described: dict[str, Any], tracking: str
    ) -> None:
        self.folder, self.described = folder, described
        self.run_id: str = described["run_id"]
        self.journal = Journal(folder.journal, head(described))
        self._stamper = Stamper(described, self.journal)
        self.checkpoint = CheckpointFile(folder.checkpoint, self._stamper)
        self.cadence = CheckpointInterval()
        self._lock, self._home, self._tracking = lock, home, tracking
        self._sampler: MachineSampler | None = None
        self._open = True

    @classmethod
    def open(
        cls,
        home: Path | str,
        *,
        name: str,
        config_hash: str,
        experiment: str,
        conditions: Mapping[str, Any],
        tracking: str = "mlflow",
        parent_run_id: str = "",
        fresh: bool = False,
        continue_anyway: bool = False,
    ) -> ActiveRun:
        """Open the run with this hash, new or existing; see :meth:`RunFolder.create_or_verify`.

        Raises:
            RunOwned: another process is running it.
            IdentityMismatch: the run was started under other conditions.
        """
        folder = run_folder(home, config_hash)
        lock = _take(folder)
        try:
            if fresh:
                lock = begin_afresh(folder, lock)
            described = folder.create_or_verify(
                name=name,
                config_hash=config_hash,
                experiment=experiment,
                conditions=conditions,
                parent_run_id=parent_run_id,
                continue_anyway=continue_anyway,
            )
            remove_orphans(folder.path)
            return cls(folder, lock, Path(home), described, tracking)
        except BaseException:
            lock.release()
            raise

    @property
    def result(self) -> dict[str, Any] | None:
        """The stored result if this run is finished, else None.

        Raises:
            RecordError: a wrong file, or the file of another run.
        """
        return self.folder.result if self.journal.history.status in _FINAL else None

    def start(
        self,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        datasets: Iterable[Mapping[str, Any]] = (),
    ) -> ActiveRun:
        """Write the status RUNNING and new ``params`` and ``tags``; start sampling and upload.

        The run's conditions become tags too. ``params`` may be nested.

        Args:
            datasets: name, digest, context, source, dtype, shape and profile of the data.
        """
        history = self.journal.history
        for data in datasets:
            known = history.datasets.get(data["name"], {})
            if any(known.get(key) != value for key, value in data.items()):
                self.journal.note("dataset", **data)
        new_params = {k: v for k, v in flat(params).items() if history.params.get(k) != v}
        all_tags = {k: str(v) for k, v in {**self.described["conditions"], **tags}.items()}
        new_tags = {k: v for k, v in all_tags.items() if history.tags.get(k) != v}
        if new_params:
            self.journal.note("params", values=new_params)
        if new_tags:
            self.journal.note("tags", values=new_tags)
        self.journal.note("status", status="RUNNING")
        self.journal.flush()
        self._sampler = MachineSampler(self.journal).start()
        follow(self._home, self._tracking, self.folder.path)
        return self

    def log(self, round_index: int, values: Mapping[str, float]) -> None:
        """Append the values of one round to the journal."""
        self.journal.metrics(round_index, values)

    def commit(self, write: Callable[[], None]) -> None:
        """Make the journal durable, then save the checkpoint by ``write``; measure the time."""
        with self.cadence:
            self._stamper.mark = self.journal.flush()
            write()

    def publish(self, path: Path, folder: str = "") -> None:
        """Record a file in the run folder as an artifact, shown under ``folder`` in MLflow."""
        inside = path.resolve().relative_to(self.folder.path.resolve())
        self.journal.note("artifact", path=str(inside), folder=folder)

    def publish_model(self, entry: Mapping[str, Any]) -> None:
        """Record a saved model; see `records`: path, registered, values, dataset, digest."""
        self.journal.note("model", **entry)

    def finish(
        self,
        status: Status = "FINISHED",
        result: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        tail: int = 10,
    ) -> dict[str, Any]:
        """End the run: store result and status, release the lock; the uploader copies the rest.

        Args:
            result: the run's own entries; ``accuracy_last``, ``accuracy_tail``, ``accuracy_best``
                (percent; the tail over the last ``tail`` evaluations), run_id, status and
                config_hash are added. NaN becomes null.

        Returns:
            The result; it is stored as ``result.json`` only if the run is finished.
        """
        if self._sampler is not None:
            self._sampler.close()
        history = self.journal.history
        numbers = accuracies(history, tail=tail, diverged=status == "DIVERGED")
        stored = {
            "run_id": self.run_id,
            "status": status,
            "config_hash": self.described["config_hash"],
            "alarms": len(history.alarms),
            **{k: _plain(v) for k, v in {**numbers, **(result or {})}.items()},
        }
        if status in _FINAL:
            self._note_clouds()
            self._log_result(stored)
            write_json(self.folder.result_file, stored)
        self.journal.note("status", status=status, reason=reason)
        self.close()
        return stored

    def close(self) -> None:
        """Stop sampling and release the run; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        if self._sampler is not None:
            self._sampler.close()
        try:
            self.journal.close()
        finally:
            self._lock.release()

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open and error is not None:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            why = f"{type(error).__name__}: {reason(error)}"
            with contextlib.suppress(OSError):  # a full disk accepts no status either
                self.finish("KILLED" if killed else "FAILED", reason=why)
        self.close()

    def _note_clouds(self) -> None:
        """Record the digests of stored clouds, so that a report detects those of another run."""
        known = self.journal.history.digests
        for file in sorted(self.folder.artifacts.glob("cloud_*.npz")):
            path = f"{self.folder.artifacts.name}/{file.name}"
            digest = hashlib.sha256(read_file(file, "cloud")).hexdigest()
            if known.get(path) != digest:
                self.journal.note("file", path=path, sha256=digest)

    def _log_result(self, stored: Mapping[str, Any]) -> None:
        rounds = [self.journal.history.next_step(family) for family in ("test/", "round/")]
        step = max(0, *(r - 1 for r in rounds))
        values: dict[str, float] = {}
        for key, value in stored.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                # times are not compared when the end of a killed run is repeated
                values[f"{'time' if key.startswith('seconds') else 'result'}/{key}"] = value
        for label, share in enumerate(stored.get("accuracy_per_class") or ()):
            if share is not None:  # a class without test samples has no accuracy
                values[f"class/accuracy_{label}"] = share
        self.journal.metrics(step, values)


def _take(folder: RunFolder) -> RunLock:
    """Create and lock the folder; repeat if another process moved it in between."""
    for _ in range(_TURNS):
        with contextlib.suppress(FileNotFoundError):
            return take(folder.create().lock)
    raise RunOwned(folder.lock, {})


def begin_afresh(folder: RunFolder, lock: RunLock) -> RunLock:
    """Rename the old run and lock the new folder, both under the old lock.

    Raises:
        RunOwned: another process locked the new folder first and is running the new run.
    """
    if not folder.used:
        return lock
    with contextlib.suppress(JournalError):  # an unreadable run is renamed too
        journal = Journal(folder.journal)
        journal.note("tags", values={"superseded": "true"})
        journal.close()
    folder.set_aside()
    try:
        return _take(folder)
    finally:
        lock.release()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
