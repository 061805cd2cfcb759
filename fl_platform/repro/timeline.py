"""Past starts of a suite as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from fl_platform.core.terminal import Terminal
from fl_platform.core.text import printable
from fl_platform.grid.progress_table import clock
from fl_platform.report.figures.style import BLUE, GREY, VERMILION, WIDTH, legend_below, styled
from fl_platform.report.tables.table import signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATEST = 30  # printed lines
LogEntry = Mapping[str, Any]


def show_history(entries: Sequence[LogEntry], console: Terminal) -> None:
    """Print one line per start; skipped starts included."""
    shown = Table(box=None, pad_edge=False)
    for name in ("when (UTC)", "verdict", "runs", "equal", "largest", "time", "commit", "what"):
        right = name in ("runs", "equal", "largest", "time")
        shown.add_column(name, justify="right" if right else "left", no_wrap=not right)
    for entry in entries[-LATEST:]:
        differences = entry.get("differences", {})
        largest = max(differences.values(), key=abs, default=0.0)
        seconds = entry.get("seconds")
        compared = entry.get("verdict") in ("agrees", "drifted")
        shown.add_row(
            str(entry["utc"]),
            Text(entry.get("verdict", entry["kind"]), style=_style(entry)),
            str(entry.get("runs", "")),
            str(entry.get("equal", "")),
            signed(largest) if compared else "",
            "" if seconds is None else clock(seconds),
            str(entry.get("commit", ""))[:10],
            Text(printable(_what(entry))),
        )
    console.print(shown)


def history_figure(entries: Sequence[LogEntry]) -> Figure | None:
    """Figure of the differences to the reference, one line per cell; None if there is no run.

    Crosses: drifted cells. Ticks at the bottom: starts that could not run.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure

    runs = [entry for entry in entries if entry["kind"] == "run"]
    compared = [entry for entry in runs if entry["verdict"] in ("agrees", "drifted")]
    if not compared:
        return None
    with styled():
        figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot(ylabel="now − reference (points)")
        cells = sorted({cell for entry in compared for cell in entry["differences"]})
        days = [date2num(_moment(entry)) for entry in compared]
        for cell in cells:
            values = [entry["differences"].get(cell, 0.0) for entry in compared]
            axes.plot(days, values, "-", color=GREY, linewidth=0.7, alpha=0.7)
        good = [day for day, e in zip(days, compared, strict=True) if e["verdict"] == "agrees"]
        axes.plot(good, [0.0] * len(good), "o", color=BLUE, label="run that agrees")
        drifts = [
            (day, entry["differences"].get(cell, 0.0))
            for day, entry in zip(days, compared, strict=True)
            for cell in entry["drifted"]
        ]
        if drifts:
            axes.plot(*zip(*drifts, strict=True), "x", color=VERMILION, label="drifted cell")
        lost = [date2num(_moment(e)) for e in runs if e["verdict"] == "could not run"]
        if lost:
            axes.plot(
                lost,
                [min(-1.0, axes.get_ylim()[0])] * len(lost),
                "|",
                color=VERMILION,
                label="could not run",
            )
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1.0), max(high, 1.0))  # small differences must look small
        legend_below(figure)
    return figure


def _moment(entry: LogEntry) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(entry["at"], UTC)


def _what(entry: LogEntry) -> str:
    return ", ".join(entry.get("drifted", [])) or str(entry.get("why", ""))


def _style(entry: LogEntry) -> str:
    if entry.get("verdict") == "agrees":
        return "green"
    return "red" if entry.get("verdict") in ("drifted", "could not run") else "yellow"
