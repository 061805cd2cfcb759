"""Log of a suite: one JSON line per start, append only."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from fl_platform.core.outside import OutsideError, parse_json, read_file
from fl_platform.tracking.journal import LineFile
from fl_platform.tracking.lock import RunLock


class Clock(NamedTuple):
    """Time of day, and a monotonic clock for durations."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


KINDS = ("run", "skipped")


class SuiteLog:
    """Folder ``mlruns/repro/SUITE`` with log (``diary.jsonl``), lock and reports."""

    def __init__(self, home: Path, suite: str) -> None:
        self.folder = home.absolute() / "mlruns" / "repro" / suite
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = self.folder / "diary.jsonl"
        self.lock = RunLock(self.folder / "lock")

    def note(self, kind: str, at: float, **values: Any) -> None:
        """Append one entry durably; ``at`` in seconds since 1970."""
        entry = {"kind": kind, "at": at, "utc": stamp(at), **values}
        with contextlib.closing(LineFile(self.path, json.loads)) as file:
            file.write([json.dumps(entry, ensure_ascii=False, allow_nan=False)])

    def entries(self, kind: str = "") -> Iterator[dict[str, Any]]:
        """Entries of ``kind`` (default: all) in order; skips torn lines and unknown kinds.

        Raises:
            OutsideError: The log is no regular file, or has more than 64 MiB.
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
            if isinstance(entry, dict) and _fits(entry) and kind in ("", entry["kind"]):
                yield entry


def _fits(entry: Mapping[str, Any]) -> bool:
    """Whether the entry is of a known kind and its fields have their types."""
    if entry.get("kind") not in KINDS:
        return False
    numbers = (entry.get("at", 0.0),)
    texts = (entry.get("utc", ""), entry.get("verdict", ""))
    differences = entry.get("differences", {})
    return (
        all(isinstance(number, int | float | None) for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and isinstance(differences, dict)
        and all(isinstance(value, int | float) for value in differences.values())
    )


def stamp(at: float) -> str:
    """UTC time in the form ``2026-03-01T02:30:00Z``."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):  # the clock is beyond the year 9999
        return f"{at:.0f} s"
