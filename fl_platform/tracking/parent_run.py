"""The parent run of a grid, a study or a suite: tags, metrics, files, status; no training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from fl_platform.core.text import reason
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock, SharedLock, alone, take
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder, head, run_folder, write_json


class ParentRun:
    """A run folder without training, locked until the end of the command.

    A grid and a suite own theirs (`open`). The workers of a study share one (`join`): they write
    one after another, and the last worker writes the status. After an exception it is FAILED.

    Attributes:
        run_id: the id by which child runs refer to their parent.
    """

    def __init__(self, folder: RunFolder, described: Mapping[str, Any], lock: RunLock) -> None:
        self.folder, self.described = folder, dict(described)
        self.run_id: str = self.described["run_id"]
        self._lock = lock

    @classmethod
    def open(cls, home: Path, *, name: str, identity: str, experiment: str) -> ParentRun:
        """Own the parent run with this hash, new or existing.

        Raises:
            RunOwned: another process works on it.
        """
        folder = run_folder(home, identity).create()
        lock = take(folder.lock)
        try:
            described = folder.create_or_verify(
                name=name, config_hash=identity, experiment=experiment, conditions={}
            )
            return cls(folder, described, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def join(
        cls,
        home: Path,
        *,
        name: str,
        identity: str,
        experiment: str,
        known: Mapping[str, Any] | None,
    ) -> ParentRun:
        """Share the parent run with this hash.

        Args:
            known: its ``run.json`` by an earlier worker; None: a new run. An existing folder then
                belongs to another run and is renamed.

        Raises:
            RunOwned: workers of the other run are active.
        """
        folder = run_folder(home, identity).create()
        there = folder.describe()
        if known is None or (there is not None and there["run_id"] != known["run_id"]):
            with ActiveRun.open(
                home, name=name, config_hash=identity, experiment=experiment, conditions={},
                tracking="journal", fresh=True,
            ) as record:  # fmt: skip
                if known is None:
                    known = record.described
            if known["run_id"] != record.described["run_id"]:  # its journal names the new run
                folder.journal.unlink()
        folder.create()
        if folder.describe() != dict(known):
            write_json(folder.identity_file, known)
        return cls(folder, known, SharedLock(folder.lock).acquire())

    def note(
        self,
        *,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        values: Iterable[tuple[int, Mapping[str, float]]] = (),
        artifacts: Iterable[Path] = (),
        status: str | None = None,
        why: str = "",
    ) -> None:
        """Write new values; recorded ones are not written twice.

        Args:
            values: (step, metrics) pairs.
            artifacts: files inside the run folder, shown in their folders below ``artifacts/``.
            status: RUNNING, SCHEDULED (the same command continues), FINISHED, FAILED or KILLED,
                for the reason ``why``.
        """
        with self._journal() as journal:
            history = journal.history
            texts = {k: str(v) for k, v in (tags or {}).items()}
            new = {k: v for k, v in texts.items() if history.tags.get(k) != v}
            if new:
                journal.note("tags", values=new)
            fresh = {k: v for k, v in (params or {}).items() if k not in history.params}
            if fresh:
                journal.note("params", values=fresh)
            for step, numbers in values:
                journal.metrics(step, numbers)
            for path in artifacts:
                inside = path.resolve().relative_to(self.folder.path.resolve())
                shown = inside.parent.relative_to("artifacts").as_posix()
                journal.note("artifact", path=str(inside), folder="" if shown == "." else shown)
            if status is not None and (status != history.status or status == "RUNNING"):
                journal.note("status", status=status, reason=why)

    def attach(self, paths: Iterable[Path], root: Path, folder: str = "report") -> None:
        """Keep copies of the files below ``root`` as artifacts below ``folder``."""
        copies = []
        for path in paths:
            copy = self.folder.artifacts / folder / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not copy.parent.resolve().is_relative_to(self.folder.artifacts.resolve()):
                raise RecordError(copy, f"{copy.parent}: expected a folder, got a link. Remove it.")
            write_atomic(copy, path.read_bytes())
            copies.append(copy)
        self.note(artifacts=copies)

    def next_step(self, family: str) -> int:
        """The step after the last one of the metrics whose names start with ``family``."""
        with self._journal() as journal:
            return journal.history.next_step(family)

    def leave(self, status: str, why: str = "") -> None:
        """Write the status, unless other workers are active, and release the lock, once."""
        if not self._lock.held:
            return
        shared = isinstance(self._lock, SharedLock)
        if not shared:
            self.note(status=status, why=why)
        self._lock.release()
        if shared:
            with contextlib.suppress(BlockingIOError), alone(self.folder.lock, wait=False):
                self.note(status=status, why=why)

    def __enter__(self) -> ParentRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._lock.release()
            return
        killed = isinstance(error, KeyboardInterrupt | SystemExit)
        why = f"{type(error).__name__}: {reason(error)}"
        try:
            with contextlib.suppress(OSError):  # a full disk accepts no status either
                self.leave("KILLED" if killed else "FAILED", why)
        finally:
            self._lock.release()

    @contextmanager
    def _journal(self) -> Iterator[Journal]:
        with alone(self.folder.path / "turn.lock"):
            journal = Journal(self.folder.journal, head(self.folder.describe() or {}))
            try:
                yield journal
            finally:
                journal.close()
