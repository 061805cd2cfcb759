"""The run's own memory: one JSON line a record, only ever appended, the source of every copy."""

from __future__ import annotations

import json
import math
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fl_platform.tracking.atomic import sync_folder, write_all
from fl_platform.tracking.history import History, JournalError, ReplayMismatch

Record = dict[str, Any]
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Journal:
    """Appends records to ``path`` and watches over replays.

    After a kill the rounds since the last checkpoint are run again and log the same values
    again. A value that is already there and equal is not written twice; an unequal one is an
    alarm: the record ``{"kind": "alarm", …}`` is written, :class:`ReplayMismatch` is warned, and
    the first value stays the valid one.

    Args:
        path: the file; a torn last line is cut off when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        created = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._size = _cut_torn_tail(self._descriptor)
            self.history = read(path)
            if created:
                sync_folder(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write ``records`` as one block; on an error (a full disk) none of them stays."""
        with self._lock:
            fresh, alarms = self._without_replays(records)
            if fresh or alarms:
                self._write(fresh + alarms)
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

    def flush(self) -> None:
        """Make everything appended so far durable."""
        with self._lock:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush and close."""
        with self._lock:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1

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

    def _write(self, records: list[Record]) -> None:
        block = "".join(encode(record) + "\n" for record in records).encode()
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            write_all(self._descriptor, block)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(block)


def encode(record: Mapping[str, Any]) -> str:
    """One line of JSON; NaN and infinities become the words ``nan``, ``inf``, ``-inf``."""
    return json.dumps(_worded(record), allow_nan=False, separators=(",", ":"))


def decode(line: bytes | str) -> Record:
    """The record of one line, the words in metric values turned back into numbers."""
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise ValueError("no record")
    if record["kind"] == "metrics":
        values = record["values"].items()
        record["values"] = {k: _WORDS[v] if isinstance(v, str) else float(v) for k, v in values}
    return record


def records(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """The complete records from byte ``offset`` on, each with the offset behind it.

    Raises:
        JournalError: a line in the middle is no record; names file and byte.
    """
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            try:
                record = decode(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise JournalError(
                    f"Expected a record in {path} at byte {offset}, got {line[:40]!r}."
                ) from error
            offset += len(line)
            yield record, offset


def read(path: Path) -> History:
    """Everything the journal says, with one value for each (key, step)."""
    history = History()
    for record, _ in records(path):
        history.add(record)
    return history


def _worded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: _worded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(entry) for entry in value]
    return value


def _cut_torn_tail(descriptor: int) -> int:
    """Cut what a killed writer or lost power left behind the last whole record."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)
    end = content.rfind(b"\n") + 1
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        try:
            decode(content[start:end])
            break
        except (ValueError, KeyError, TypeError, AttributeError):
            end = start
    if end != size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end
