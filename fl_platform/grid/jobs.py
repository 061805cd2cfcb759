"""What has become of each cell so far: the one thing that executors write and screens read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fl_platform.grid.plan import Cell
from fl_platform.run.lookup import OtherData, Seen, stored
from fl_platform.run.result import Result

State = Literal["waiting", "running", "elsewhere", "done", "failed"]


@dataclass
class Entry:
    """One cell's state.

    Attributes:
        state: ``elsewhere`` where another process works on it; ``done`` also where it diverged.
        reason: why it failed, in one line; ``trace`` in many.
        seconds: since it began here, or that it took.
        round: rounds done; ``accuracy`` in percent, the newest.
        before: it was over before this grid began.
        tries: times that its process died without a word.
    """

    cell: Cell
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

    def begin(self) -> None:
        """It runs from now on."""
        self.state, self.started = "running", time.monotonic()

    def end(self, result: Result) -> None:
        """It is over, or was stopped and goes on another time."""
        self.seconds = time.monotonic() - self.started if self.started else result.seconds
        self.round = result.rounds
        if result.status in ("FINISHED", "DIVERGED"):
            self.state, self.result, self.accuracy = "done", result, result.accuracy_tail
        else:
            self.state = "waiting"

    def fail(self, reason: str, trace: str = "") -> None:
        """It cannot be run, for ``reason``."""
        self.seconds = time.monotonic() - self.started if self.started else 0.0
        self.state, self.reason, self.trace = "failed", reason, trace


@dataclass
class Board:
    """The cells of a grid in order, and when work on them began."""

    entries: list[Entry]
    jobs: int = 1
    expected: float | None = None  # seconds a cell, before one was seen
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, cells: Sequence[Cell], home: Path, *, fresh: bool = False) -> Board:
        """The board of ``cells``: those done that were over before, failed where of other data."""
        board = cls([Entry(cell) for cell in cells])
        seen: Seen = {}
        for entry in board.entries:
            anew = fresh or entry.cell.config.runtime.fresh
            try:
                result = None if anew else stored(entry.cell.config, home, seen)
            except OtherData as error:
                entry.fail(str(error))
                continue
            if result is not None:
                entry.end(result)
                entry.before = True
        return board

    def of_state(self, *states: State) -> list[Entry]:
        """The entries in any of ``states``."""
        return [entry for entry in self.entries if entry.state in states]

    @property
    def complete(self) -> bool:
        """Whether no cell waits or runs, here or elsewhere."""
        return not self.of_state("waiting", "running", "elsewhere")

    def left(self) -> float | None:
        """Seconds until all is done at the pace of the cells so far; None before one is."""
        ended = [e.seconds for e in self.of_state("done") if not e.before]
        pace = sum(ended) / len(ended) if ended else self.expected
        if pace is None:
            return None
        now = time.monotonic()
        running = sum(max(0.0, pace - (now - e.started)) for e in self.of_state("running"))
        return (pace * len(self.of_state("waiting")) + running) / max(1, self.jobs)
