"""What a person sees while a grid runs: a live table of cells, or plain lines off a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_platform.core.outside import open_file
from fl_platform.grid.jobs import Board, Entry
from fl_platform.tracking.journal import decode
from fl_platform.tracking.run_folder import run_folder

SHOWN = 6  # ended cells in the live table
PACE = 0.5  # seconds between two looks at the journals


class Screen:
    """Shows a board; use as a context.

    On a terminal a table is rewritten twice a second; elsewhere each cell that ends is one line.
    Nothing here starts a thread, since workers are forked from this process.
    """

    def __init__(self, board: Board, home: Path, console: Console | None = None) -> None:
        self.board, self.home = board, home
        self.console = console or Console(file=sys.stderr, highlight=False)
        self._ended: list[Entry] = []
        self._looked = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(
                self._table(), console=self.console, auto_refresh=False, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, entry: Entry | None) -> None:
        """``entry`` ended; None: time has passed."""
        if entry is not None and entry.state in ("done", "failed"):
            self._ended.append(entry)
            if self._live is None:
                self.console.print(Text(self._line(entry)), soft_wrap=True)
        if self._live is None or (entry is None and time.monotonic() - self._looked < PACE):
            return
        self._looked = time.monotonic()
        for running in self.board.of_state("running"):
            running.round, running.accuracy = newest(
                run_folder(self.home, running.cell.config_hash).journal
            )
        self._live.update(self._table(), refresh=True)

    def _line(self, entry: Entry) -> str:
        board = self.board
        over = len(board.of_state("done", "failed"))
        line = f"[{over}/{len(board.entries)}] {entry.cell.name}  {told(entry)}"
        left = board.left()
        return line if not left else f"{line}  {clock(left)} left"

    def _table(self) -> Group:
        board = self.board
        counts = {s: len(board.of_state(s)) for s in ("done", "running", "elsewhere", "failed")}
        words = [f"{n} {state}" for state, n in counts.items() if n or state == "done"]
        left = board.left()
        words += [f"{clock(left)} left"] if left else []
        head = Text(f"{len(board.entries)} cells: {', '.join(words)}", style="bold")
        table = Table(box=None, pad_edge=False)
        for name in ("cell", "state", "round", "accuracy", "seconds"):
            table.add_column(name, justify="left" if name in ("cell", "state") else "right")
        failed = [e for e in self._ended if e.state == "failed"]
        done = [e for e in self._ended if e.state == "done"][-SHOWN:]
        now = time.monotonic()
        for entry in [*failed[-SHOWN:], *done, *board.of_state("running")]:
            seconds = now - entry.started if entry.state == "running" else entry.seconds
            rounds = f"{entry.round}/{entry.cell.config.rounds}"
            style = {"failed": "red", "running": "cyan"}.get(entry.state, "")
            state = entry.result.status.lower() if entry.result else entry.state
            table.add_row(
                Text(entry.cell.name), state, rounds, percent(entry.accuracy), f"{seconds:.0f}",
                style=style,
            )  # fmt: skip
        return Group(head, table)


def told(entry: Entry) -> str:
    """How a cell ended, in a few words."""
    if entry.state == "failed":
        return f"FAILED {entry.reason}"
    if entry.result is None:
        return entry.state
    kept = "  (kept from before)" if entry.before else f"  {entry.seconds:.1f} s"
    if entry.result.alarms:
        kept += f"  ALARM: {entry.result.alarms} values differ when run again"
    if entry.result.status == "DIVERGED":
        return f"DIVERGED {entry.result.reason}{kept}"
    return f"{percent(entry.accuracy)}{kept}"


def newest(journal: Path, tail: int = 16384) -> tuple[int, float | None]:
    """Rounds done and the newest accuracy in percent, from the end of a journal."""
    rounds, accuracy = 0, None
    with contextlib.suppress(OSError, ValueError):
        with os.fdopen(open_file(journal, os.O_RDONLY), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - tail))
            lines = stream.read().split(b"\n")[:-1]
        for line in lines:
            if b'"test/accuracy"' not in line or not line.startswith(b"{"):
                continue
            record = decode(line)
            rounds = max(rounds, int(record["step"]))
            accuracy = 100 * float(record["values"]["test/accuracy"])
    return rounds, accuracy


def percent(value: float | None) -> str:
    """``83.25 %``, or ``-`` where there is none."""
    return "-" if value is None else f"{value:.2f} %"


def clock(seconds: float) -> str:
    """``1:05`` or ``2:01:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
