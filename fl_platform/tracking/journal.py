"""The journal of a run: one JSON line per record, append only, the source of every copy."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_platform.core.outside import LIMITS, OutsideError, open_file
from fl_platform.tracking.atomic import sync_folder, write_all
from fl_platform.tracking.history import History, JournalError, ReplayMismatch
from fl_platform.tracking.records import parse_line

Record = dict[str, Any]


@dataclass(frozen=True)
class JournalState:
    """The length of a journal at one moment, and the SHA-256 of these bytes."""

    length: int
    sha256: str


class LineFile:
    """A file to which whole lines are appended.

    Args:
        path: the file; a torn last line is cut off when it is opened.
        parse: raises a ValueError for a line that is none of this file.

    Raises:
        JournalError: no regular file, or one that is too large.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Any]) -> None:
        self.path = path
        self._lock = threading.Lock()
        created = not path.exists()
        try:
            self._descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        except OutsideError as error:
            raise JournalError(path, str(error)) from None
        try:
            self._size, self._digest = _cut_torn_tail(self._descriptor, path, parse)
            if created:
                sync_folder(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, lines: Iterable[str]) -> None:
        """Append ``lines`` as one block; after an error (a full disk) none of them remains."""
        block = "".join(f"{line}\n" for line in lines).encode()
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            write_all(self._descriptor, block)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(block)
        self._digest.update(block)

    def flush(self) -> JournalState:
        """Make everything appended so far durable; its length and digest."""
        with self._lock:
            os.fsync(self._descriptor)
            return JournalState(self._size, self._digest.hexdigest())

    def close(self) -> None:
        """Flush and close."""
        with self._lock:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1


class Journal(LineFile):
    """A journal at ``path``, with a check of repeated rounds.

    After a kill the rounds since the last checkpoint are run again and log the same values
    again. A value that is recorded already and equal is not written twice; an unequal one is an
    alarm: the record ``{"kind": "alarm", …}`` is written, :class:`ReplayMismatch` is warned, and
    the first value remains valid.

    Args:
        path: the file; a torn last line is cut off when it is opened.
        head: the run's ``run_id`` and ``config_hash``, written as the first record. A journal
            with others is refused.

    Raises:
        JournalError: a line that is not a record, another run's journal, or no regular file.
    """

    def __init__(self, path: Path, head: Mapping[str, str] | None = None) -> None:
        super().__init__(path, decode)
        try:
            self.history = read(path)
            if head is not None and not self._size:
                self.note("run", **head)
            elif head is not None:
                refuse_other(self.history, path, head["run_id"])
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write ``records`` as one block; after an error (a full disk) none of them remains."""
        with self._lock:
            fresh, alarms = self._without_replays(records)
            if fresh or alarms:
                self.write(map(encode, fresh + alarms))
            for record in fresh + alarms:
                self.history.add(record)
        for alarm in alarms:
            warnings.warn(alarm["message"], ReplayMismatch, stacklevel=2)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one round's values."""
        numbers = {key: float(value) for key, value in values.items()}
        record = {"kind": "metrics", "step": int(step), "time": time.time(), "values": numbers}
        self.append([record])

    def note(self, kind: str, **fields: Any) -> None:
        """Append one record of ``kind``: ``params``, ``tags``, ``status`` or ``artifact``."""
        self.append([{"kind": kind, "time": time.time(), **fields}])

    def begins_with(self, mark: JournalState) -> bool:
        """True if the journal starts with the bytes that ``mark`` describes."""
        with self._lock:
            if mark.length > self._size:
                return False
            digest, at = hashlib.sha256(), 0
            while at < mark.length:
                block = os.pread(self._descriptor, min(2**20, mark.length - at), at)
                if not block:
                    return False
                digest.update(block)
                at += len(block)
        return digest.hexdigest() == mark.sha256

    def _without_replays(
        self, records: Iterable[Mapping[str, Any]]
    ) -> tuple[list[Record], list[Record]]:
        fresh: list[Record] = []
        alarms: list[Record] = []
        for record in map(dict, records):
            if record["kind"] != "metrics":
                fresh.append(record)
                continue
            values, mismatches = self.history.unseen(record["step"], record["values"])
            if values:
                fresh.append({**record, "values": values})
            alarms += [
                {"kind": "alarm", "time": record["time"], "message": str(mismatch)}
                for mismatch in mismatches
            ]
        return fresh, alarms


def encode(record: Mapping[str, Any]) -> str:
    """One line of JSON; NaN and infinities become the words ``nan``, ``inf``, ``-inf``."""
    return json.dumps(_worded(record), allow_nan=False, separators=(",", ":"))


decode = parse_line


def records(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """The complete records from byte ``offset`` on, each with the offset of its end.

    Raises:
        JournalError: a line in the middle that is not a record, or a file that must not be read;
            the message names file and byte.
    """
    try:
        stream = os.fdopen(open_file(path, os.O_RDONLY), "rb")
    except OutsideError as error:
        raise JournalError(path, str(error)) from None
    with stream:
        _refuse_large(stream.fileno(), path)
        stream.seek(offset)
        while line := stream.readline(LIMITS["line"]):
            if not line.endswith(b"\n") and len(line) < LIMITS["line"]:
                return
            try:
                record = decode(line)
            except ValueError as error:
                problem = f"{path}: expected a record at byte {offset}, got {line[:40]!r}: {error}."
                raise JournalError(path, problem) from error
            offset += len(line)
            yield record, offset


def read(path: Path, run_id: str | None = None) -> History:
    """The content of the journal, with one value per (key, step).

    Args:
        run_id: id of the run to which the journal must belong.

    Raises:
        JournalError: a line that is not a record, or another run's journal.
    """
    history = History()
    for record, _ in records(path):
        history.add(record)
    if run_id is not None and (history.run_id or history.metrics or history.params):
        refuse_other(history, path, run_id)
    return history


def refuse_other(history: History, path: Path, run_id: str) -> None:
    """Raise `JournalError` if the journal at ``path`` is not the run's."""
    if history.run_id != run_id:
        found = f"the one of run {history.run_id}" if history.run_id else "one without a run id"
        raise JournalError(
            path,
            f"{path}: expected the journal of run {run_id}, got {found}. Restore it, or"
            " restart the run (--restart).",
        )


def _refuse_large(descriptor: int, path: Path) -> None:
    size = os.fstat(descriptor).st_size
    if size > LIMITS["journal"]:
        problem = f"{path}: expected at most {LIMITS['journal']} bytes, got {size}."
        raise JournalError(path, problem)


def _worded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: _worded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(entry) for entry in value]
    return value


def _cut_torn_tail(descriptor: int, path: Path, parse: Callable[[bytes], Any]) -> tuple[int, Any]:
    """Remove an incomplete record, left by a killed writer or a power failure, from the end.

    Returns:
        The remaining length, and a SHA-256 of these bytes that is updated with each append.
    """
    _refuse_large(descriptor, path)
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)
    end = content.rfind(b"\n") + 1
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        try:
            parse(content[start:end])
            break
        except ValueError:
            end = start
    if end != size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end, hashlib.sha256(memoryview(content)[:end])
