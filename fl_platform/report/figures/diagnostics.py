"""Empirical robustness beside what theory promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fl_platform.report.figures.style import BLUE, GREY, WIDTH, legend_below, marks, panels, styled
from fl_platform.report.round_metrics import SKEW

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LEAST = 1e-3  # what is smaller is exact up to rounding and would stretch the axis for nothing


def kappa_figure(table: pd.DataFrame, title: str = "") -> Figure | None:
    """Largest empirical kappa of any round for each defense and attack; a bar is the constant.

    Args:
        table: As ``rounds.kappa_table`` returns it.
        title: What is printed above.

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
    looks = marks(list(measured["attack"]))
    with styled():
        size = (WIDTH * 0.75, 0.36 * len(defenses) + 1.2)
        figure = Figure(figsize=size, layout="constrained")
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
                axes.text(
                    0.99,
                    y,
                    "no finite constant" if here["constant"].notna().any() else "none proved",
                    transform=axes.get_yaxis_transform(),
                    ha="right",
                    va="center",
                    fontsize=6.5,
                    color="#555555",
                )
            for attack, row, kappa in zip(here["attack"], here["row"], here["kappa"], strict=True):
                look = looks[attack]
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
        axes.set_yticks(range(len(defenses)), defenses)
        axes.set_ylim(len(defenses) - 0.5, -0.5)
        axes.margins(x=0.1)
        axes.set_xlabel("κ: squared error of the aggregate over the variance of honest updates")
        legend_below(figure)
        if title:
            figure.suptitle(title, fontsize=8)
    return figure


def skew_figure(table: pd.DataFrame, title: str = "") -> Figure | None:
    """One panel a statistic: its mean over runs, and in grey what symmetric updates would give.

    A statistic says something only where it leaves the grey band: searching the direction in the
    same rows makes several of them negative for symmetric updates too.

    Args:
        table: As ``rounds.skew_table`` returns it.
        title: What is printed above.

    Returns:
        None for an empty table.
    """
    if table.empty:
        return None
    names = [name for name in SKEW if (table["metric"] == name).any()]
    with styled():
        figure, every = panels(len(names), columns=3, share_y=False)
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
            missing = "" if len(null) else "\n(no null logged)"
            axes.set_title(SKEW[name] + missing)
            axes.set_xlabel("round")
        legend_below(figure, columns=2)
        if title:
            figure.suptitle(title, fontsize=8)
    return figure
