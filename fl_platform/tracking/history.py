"""The content of a journal: one value per metric and step, and an alarm where two differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_platform.tracking.records import RecordError

# times and machine load differ between executions; all other values must not
UNCOMPARED = ("system/", "time/", "speed/")
UNEXPECTED = "its process ended unexpectedly"  # reason of KILLED that the uploader writes


class JournalError(RecordError):
    """A journal with a wrong record, or of another run."""


class ReplayMismatch(UserWarning):
    """A repeated round gave another value: the run is not reproducible."""


@dataclass(frozen=True)
class Point:
    """A metric's value and its time of writing (seconds since 1970)."""

    value: float
    time: float


@dataclass
class History:
    """The state of a run, from its records so far.

    Attributes:
        metrics: key -> step -> first point written.
        params, tags: the last value of each key.
        status: the last status, ``RUNNING`` from the start.
        artifacts: records of files to publish, in order, one per path.
        alarms: replay mismatches.
        run_id: id of the journal's run; empty in a journal of the first version.
        digests: SHA-256 of files of the run, by path inside its folder.
        datasets: records of the data, by name.
        model: record of the saved model, if there is one.
        starts: starts since the last new round, without those that a request ended.
    """

    metrics: dict[str, dict[int, Point]] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    started: float = math.nan
    ended: float = math.nan
    run_id: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: dict[str, Any] | None = None
    starts: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one record; unknown kinds, of a later version, are ignored."""
        kind = record["kind"]
        if kind == "metrics":
            values, mismatches = self.unseen(record["step"], record["values"])
            for key, value in values.items():
                self.metrics.setdefault(key, {})[record["step"]] = Point(value, record["time"])
            if "time/local" in values:
                self.starts = 0
            self.alarms += [str(m) for m in mismatches if str(m) not in self.alarms]
        elif kind == "params":
            self.params.update(record["values"])
        elif kind == "tags":
            self.tags.update({key: str(value) for key, value in record["values"].items()})
        elif kind == "status":
            self._turn(record["status"], record["time"])
            if record["status"] == "KILLED" and record.get("reason") != UNEXPECTED:
                self.starts = max(0, self.starts - 1)
        elif kind == "artifact":
            self.artifacts[record["path"]] = dict(record)
        elif kind == "run":
            self.run_id = self.run_id or record["run_id"]
        elif kind == "file":
            self.digests[record["path"]] = record["sha256"]
        elif kind == "dataset":
            self.datasets[record["name"]] = dict(record)
        elif kind == "model":
            self.model = dict(record)
        elif kind == "alarm" and record["message"] not in self.alarms:
            self.alarms.append(record["message"])

    def unseen(
        self, step: int, values: Mapping[str, float]
    ) -> tuple[dict[str, float], list[ReplayMismatch]]:
        """The new entries of ``values`` at ``step``, and a mismatch for each that differs."""
        fresh: dict[str, float] = {}
        mismatches: list[ReplayMismatch] = []
        for key, value in values.items():
            known = self.metrics.get(key, {}).get(step)
            if known is None:
                fresh[key] = value
            elif not key.startswith(UNCOMPARED) and not _same(known.value, value):
                mismatches.append(
                    ReplayMismatch(
                        f"Expected {key} = {known.value!r} again in round {step}, got {value!r}:"
                        " the repeated round differs from the recorded one."
                    )
                )
        return fresh, mismatches

    def next_step(self, prefix: str) -> int:
        """One more than the last step of any metric whose key starts with ``prefix``."""
        steps = (max(s) for key, s in self.metrics.items() if key.startswith(prefix))
        return max(steps, default=-1) + 1

    def curve(self, key: str) -> list[tuple[int, float]]:
        """The (step, value) pairs of ``key``, in order of steps."""
        return sorted((step, point.value) for step, point in self.metrics.get(key, {}).items())

    def _turn(self, status: str, time: float) -> None:
        self.status = status
        if status == "RUNNING":
            self.started = time if math.isnan(self.started) else self.started
            self.ended = math.nan
            self.starts += 1
        else:
            self.ended = time


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
