"""Progress of a grid: a live table, one line in a notebook, one line per ended run elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_platform.core.notebook import NotebookLine, in_notebook
from fl_platform.core.outside import open_file
from fl_platform.core.terminal import Terminal
from fl_platform.grid.jobs import Job, JobTable, State
from fl_platform.tracking.journal import decode
from fl_platform.tracking.run_folder import run_folder

SHOWN = 6  # ended runs in the live table
REFRESH = 0.5  # seconds between two updates of the live table
STATES: tuple[State, ...] = ("done", "running", "running in another process", "failed")


class ProgressTable:
    """Prints the progress of a job table; a context manager.

    On a terminal a live table is redrawn every `REFRESH` seconds; in a notebook one line is
    replaced whenever a run ends; elsewhere each ended run prints one line. No thread is started,
    because workers are forked from this process.
    """

    def __init__(self, table: JobTable, home: Path, console: Terminal | None = None) -> None:
        self.table, self.home = table, home
        self.console = console or Terminal(error=True)
        self._ended: list[Job] = []
        self._refreshed = 0.0
        self._live: Live | None = None
        self._cell = NotebookLine() if console is None and in_notebook() else None

    def __enter__(self) -> ProgressTable:
        if self._cell is not None:
            self._cell.show(self._head())
        elif self.console.is_terminal:
            self._live = Live(
                self._live_table(), console=self.console, auto_refresh=False, transient=True
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

    def changed(self, job: Job | None) -> None:
        """Update the display after ``job`` ended; None: refresh the running jobs only."""
        if job is not None and job.state in ("done", "failed"):
            self._ended.append(job)
            if self._cell is not None:
                self._cell.show(f"{self._head()}; last: {job.planned.name}  {outcome_text(job)}")
            elif self._live is None:
                self.console.print(Text(self._line(job)), soft_wrap=True)
        if self._live is None or (job is None and time.monotonic() - self._refreshed < REFRESH):
            return
        self._refreshed = time.monotonic()
        for running in self.table.of_state("running"):
            running.round, running.accuracy = newest(
                run_folder(self.home, running.planned.config_hash).journal
            )
        self._live.update(self._live_table(), refresh=True)

    def _line(self, job: Job) -> str:
        table = self.table
        ended = len(table.of_state("done", "failed"))
        line = f"[{ended}/{len(table.jobs)}] {job.planned.name}  {outcome_text(job)}"
        left = table.left()
        return line if not left else f"{line}  {clock(left)} left"

    def _head(self) -> str:
        jobs = self.table
        counts = {state: len(jobs.of_state(state)) for state in STATES}
        words = [f"{n} {state}" for state, n in counts.items() if n or state == "done"]
        left = jobs.left()
        words += [f"{clock(left)} left"] if left else []
        return f"{len(jobs.jobs)} runs: {', '.join(words)}"

    def _live_table(self) -> Group:
        jobs = self.table
        head = Text(self._head(), style="bold")
        table = Table(box=None, pad_edge=False)
        for name in ("run", "state", "round", "accuracy", "seconds"):
            table.add_column(name, justify="left" if name in ("run", "state") else "right")
        failed = [e for e in self._ended if e.state == "failed"]
        done = [e for e in self._ended if e.state == "done"][-SHOWN:]
        now = time.monotonic()
        for job in [*failed[-SHOWN:], *done, *jobs.of_state("running")]:
            seconds = now - job.started if job.state == "running" else job.seconds
            rounds = f"{job.round}/{job.planned.config.rounds}"
            style = {"failed": "red", "running": "cyan"}.get(job.state, "")
            state = job.result.status.lower() if job.result else job.state
            table.add_row(
                Text(job.planned.name), state, rounds, percent(job.accuracy), f"{seconds:.0f}",
                style=style,
            )  # fmt: skip
        return Group(head, table)


def outcome_text(job: Job) -> str:
    """Outcome of a job in one line: accuracy, divergence or the cause of a failure."""
    if job.state == "failed":
        return f"FAILED {job.reason}"
    if job.result is None:
        return job.state
    kept = "  (stored result)" if job.before else f"  {job.seconds:.1f} s"
    if job.result.alarms:
        kept += f"  ALARM: {job.result.alarms} values differ in repeated rounds"
    if job.result.status == "DIVERGED":
        return f"DIVERGED {job.result.reason}{kept}"
    return f"{percent(job.accuracy)}{kept}"


def newest(journal: Path, tail: int = 16384) -> tuple[int, float | None]:
    """Number of finished rounds and latest accuracy in percent, from the end of a journal."""
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
    """``83.25 %``, or ``-`` for ``None``."""
    return "-" if value is None else f"{value:.2f} %"


def clock(seconds: float) -> str:
    """Minutes and seconds, ``1:05``, or hours as well, ``2:01:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
