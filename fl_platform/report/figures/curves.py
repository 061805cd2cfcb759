"""Accuracy over rounds: one panel a defense, one line an attack, a band over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fl_platform.report.cells import Cell, usual_strength
from fl_platform.report.figures.layout import Page
from fl_platform.report.figures.style import (
    finish,
    label_outside,
    name_panels,
    panels,
    row_marks,
    styled,
)
from fl_platform.report.tables.table import axes as table_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fl_platform.report.figures.style import Mark


def accuracy_curves(
    found: Sequence[Cell],
    curves: pd.DataFrame,
    key: str = "test/accuracy",
    title: str = "",
    page: Page | None = None,
) -> Figure | None:
    """Mean test accuracy over finished seeds with a band of ± one standard deviation.

    Diverged runs are no part of a mean: each is drawn alone, thin, with a cross where it ends.

    Args:
        found: Cells of one setting; of a nu sweep only the strength nearest to 1 is drawn.
        curves: Columns run_id, key, step, value; accuracies from 0 to 1.
        key: Which curve.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None where no run of these cells has such a curve.
    """
    shown = usual_strength(found)
    ids = {str(run["run_id"]) for cell in shown for run in cell.runs if run.get("run_id")}
    kept = curves[(curves["key"] == key) & curves["run_id"].astype(str).isin(ids)]
    if kept.empty:
        return None
    by_run = {
        str(run): (part["step"].to_numpy(), 100 * part["value"].to_numpy(dtype=float))
        for run, part in kept.sort_values("step").groupby("run_id", sort=False)
    }
    from matplotlib.ticker import MaxNLocator

    _, columns = table_axes(shown)
    looks = row_marks({cell.row: cell.attack for cell in shown})
    page = page or Page()
    with styled(page):
        figure, every = panels(len(columns), page)
        name_panels(figure, every, columns, page)
        for axes, column in zip(every, columns, strict=True):
            for cell in shown:
                if cell.column == column:
                    _draw(axes, cell, by_run, looks[cell.row])
        every[0].xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        label_outside(every, "round", "test accuracy (%)")
        known = kept["value"].to_numpy(dtype=float)
        highest = 105 * float(np.max(known, initial=0.0, where=np.isfinite(known)))
        every[0].set_ylim(0, min(100.0, highest) if highest > 0 else 1.0)
        finish(figure, every, page, title, height=1.2)
    return figure


def _draw(
    axes: Axes, cell: Cell, by_run: dict[str, tuple[np.ndarray, np.ndarray]], look: Mark
) -> None:
    whole, broken = [], []
    for run in cell.runs:
        curve = by_run.get(str(run.get("run_id")))
        if curve is not None and run["seed"] in cell.values:
            whole.append(curve)
        elif curve is not None and run["seed"] in cell.diverged:
            broken.append(curve)
    for steps, values in broken:
        axes.plot(steps, values, color=look.color, lw=0.9, ls=":", zorder=4)
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            axes.plot(steps[finite[-1]], values[finite[-1]], "x", color=look.color, ms=5, mew=1.2)
    if not whole:
        return
    # Only steps that every seed has: a mean over fewer seeds would jump where one is missing.
    steps = np.array(sorted(set.intersection(*(set(curve[0].tolist()) for curve in whole))))
    if not len(steps):
        return
    values = np.array([v[np.searchsorted(s, steps)] for s, v in whole])
    mean = values.mean(axis=0)
    strong = cell.attack == "strike"
    axes.plot(
        steps,
        mean,
        color=look.color,
        ls=look.line,
        lw=1.8 if strong else 1.1,
        marker=look.marker or ("." if len(steps) == 1 else ""),
        markevery=max(1, len(steps) // 4),
        ms=3.5,
        label=cell.row,
        zorder=3 if strong else 2,
    )
    if len(whole) > 1:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(steps, mean - sd, mean + sd, color=look.color, alpha=0.15, lw=0)
