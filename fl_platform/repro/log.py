"""What became of every start of a suite: one JSON line each, only ever appended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fl_platform.core.outside import OutsideError, open_file, parse_json, read_file
from fl_platform.repro.slots import Settled
from fl_platform.tracking.atomic import write_all
from fl_platform.tracking.lock import RunLock

OVER = ("agrees", "drifted", "could not run")  # verdicts after which a slot is settled


class Diary:
    """The folder ``mlruns/repro/SUITE``: its diary, its lock, and the reports beside them."""

    def __init__(self, home: Path, suite: str) -> None:
        self.folder = home.absolute() / "mlruns" / "repro" / suite
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = self.folder / "diary.jsonl"
        self.lock = RunLock(self.folder / "lock")

    def note(self, kind: str, at: float, **values: Any) -> None:
        """Append one entry and make it durable; ``at`` in seconds since 1970."""
        entry = {"kind": kind, "at": at, "utc": stamp(at), **values}
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            write_all(descriptor, b"\n" + line if torn else line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def entries(self, kind: str = "") -> Iterator[dict[str, Any]]:
        """The entries of ``kind``, or all, in order; what is no entry is passed over.

        Raises:
            OutsideError: no regular file, or one of more than 64 MiB.
        """
        try:
            lines = read_file(self.path, "log").split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            try:
                entry = parse_json(line, self.path)
            except OutsideError:  # torn by a loss of power
                continue
            if isinstance(entry, dict) and kind in ("", entry.get("kind")) and _fits(entry):
                yield entry

    def settled(self) -> Settled:
        """Which slots are dealt with."""
        state = Settled()
        for entry in self.entries():
            if entry["kind"] == "slot":
                state = Settled(entry["slot"], open=True)
            elif entry["kind"] == "missed" and entry["last"] >= (state.last or entry["last"]):
                state = Settled(entry["last"])
            elif entry.get("verdict") in OVER and entry["slot"] == state.last:
                state = Settled(state.last)
        return state


def _fits(entry: Mapping[str, Any]) -> bool:
    """Whether the fields that decide about slots and tables have their types."""
    numbers = (entry.get("at", 0.0), entry.get("slot", 0.0), entry.get("last", 0.0))
    texts = (entry.get("kind"), entry.get("utc", ""), entry.get("verdict", ""))
    differences = entry.get("differences", {})
    return (
        all(isinstance(number, int | float | None) for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and isinstance(differences, dict)
        and all(isinstance(value, int | float) for value in differences.values())
    )


def stamp(at: float) -> str:
    """``2026-03-01T02:30:00Z``."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):  # a clock beyond the year 9999
        return f"{at:.0f} s"
