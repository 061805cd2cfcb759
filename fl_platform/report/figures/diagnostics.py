"""Empirical robustness beside what theory promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fl_platform.report.figures.layout import Page, lines, text_width, wrapped
from fl_platform.report.figures.style import (
    BLUE,
    GREY,
    finish,
    label_outside,
    name_panels,
    panels,
    row_marks,
    styled,
)
from fl_platform.report.round_metrics import SKEW

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LEAST = 1e-3  # what is smaller is exact up to rounding and would stretch the axis for nothing


def kappa_figure(table: pd.DataFrame, title: str = "", page: Page | None = None) -> Figure | None:
    """Largest empirical kappa of any round for each defense and attack; a bar is the constant.

    Args:
        table: As ``rounds.kappa_table`` returns it.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None where nothing was measured.
    """
    measured = table[np.isfinite(table["kappa"]) & (table["kappa"] > 0)] if len(table) else table
    if measured.empty:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    defenses = list(dict.fromkeys(measured["defense"]))
    rows = list(dict.fromkeys(measured["row"]))
    looks = row_marks(dict(zip(measured["row"], measured["attack"], strict=True)))
    page = page or Page()
    names = [wrapped(name, 0.3 * page.width, page.small) for name in defenses]
    # Markers of a defense stand below each other: more attacks need more height.
    each = max(0.36, 0.035 * len(rows), 0.14 * max(map(lines, names)) + 0.08)
    with styled(page):
        width = min(page.width, 5.2 * page.scale)
        figure = Figure(figsize=(width, each * page.scale * len(defenses) + 1.2))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        for y, defense in enumerate(defenses):
            here = measured[measured["defense"] == defense]
            finite = here["constant"][np.isfinite(here["constant"])]
            if len(finite):
                ends = (y - 0.38, y + 0.38)
                label = "constant (theory)"
                axes.plot([finite.max()] * 2, ends, color="black", lw=2.2, label=label)
            else:
                none = "no finite constant" if here["constant"].notna().any() else "none proved"
                place: dict[str, Any] = {
                    "transform": axes.get_yaxis_transform(),
                    "ha": "left",
                    "va": "center",
                }
                text = wrapped(none, text_width("no constant", page.small), page.small)
                axes.text(1.02, y, text, fontsize=page.small, color="#555555", **place)
            for row, kappa in zip(here["row"], here["kappa"], strict=True):
                look = looks[row]
                offset = (rows.index(row) - (len(rows) - 1) / 2) * 0.6 / max(1, len(rows) - 1)
                axes.plot(
                    max(kappa, LEAST),
                    y + offset,
                    color=look.color,
                    marker=look.marker or ".",
                    ls="",
                    ms=4,
                    label=row,
                )
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"≤ {value:g}" if value <= LEAST else f"{value:g}")
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(defenses)), names)
        axes.set_ylim(len(defenses) - 0.5, -0.5)
        axes.margins(x=0.1)
        meaning = "κ: squared error of the aggregate over the variance of honest updates"
        axes.set_xlabel(wrapped(meaning, 0.66 * width, page.font))
        finish(figure, [axes], page, title, height=each * len(defenses))
    return figure


def skew_figure(table: pd.DataFrame, title: str = "", page: Page | None = None) -> Figure | None:
    """One panel a statistic: its mean over runs, and in grey what symmetric updates would give.

    A statistic says something only where it leaves the grey band: searching the direction in the
    same rows makes several of them negative for symmetric updates too.

    Args:
        table: As ``rounds.skew_table`` returns it.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None for an empty table.
    """
    if table.empty:
        return None
    from matplotlib.ticker import MaxNLocator

    names = [name for name in SKEW if (table["metric"] == name).any()]
    page = page or Page()
    with styled(page):
        figure, every = panels(len(names), page, each=1.6, share_y=False)
        name_panels(figure, every, [SKEW[name] for name in names], page)
        for axes, name in zip(every, names, strict=True):
            part = table[table["metric"] == name]
            null = part[part["null_mean"].notna()]  # drawn on fewer rounds than the statistic
            if len(null):
                axes.fill_between(
                    null["step"], null["null_low"], null["null_high"], color=GREY, alpha=0.3, lw=0
                )
                axes.plot(
                    null["step"],
                    null["null_mean"],
                    color="#444444",
                    ls=(0, (4, 2)),
                    lw=0.9,
                    label="sign-flip null (band: ± 2 sd)",
                )
            # A fixed number of ticks: one that follows the height changes the room for labels.
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.fill_between(part["step"], part["low"], part["high"], color=BLUE, alpha=0.2, lw=0)
            runs = int(part["runs"].max())
            axes.plot(
                part["step"],
                part["mean"],
                color=BLUE,
                marker="o",
                ms=2.5,
                markevery=max(1, len(part) // 6),
                label=f"honest updates (mean and middle 80 % of {runs} runs)",
            )
        every[0].xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        label_outside(every, "round")
        finish(figure, every, page, title, height=1.2)
    return figure
