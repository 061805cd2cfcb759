"""Skew of the honest updates over rounds, each statistic against its sign-flip null."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.report.figures.style import BLUE, GREY, legend_below, panels, styled
from fl_platform.report.round_metrics import SKEW

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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
