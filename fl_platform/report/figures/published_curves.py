"""Our curves over published ones: one panel a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fl_platform.report.cells import Cell
from fl_platform.report.figures.layout import Page
from fl_platform.report.figures.style import (
    BLUE,
    GREY,
    finish,
    label_outside,
    name_panels,
    panels,
    styled,
)
from fl_platform.report.published import PublishedCell

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def published_curves(
    found: Sequence[Cell],
    curves: pd.DataFrame,
    published: Mapping[str, PublishedCell],
    title: str = "",
    page: Page | None = None,
) -> Figure | None:
    """Mean test accuracy of ours and of the authors, each with a band over all of its seeds.

    Args:
        found: Cells of one setting.
        curves: Columns run_id, key, step, value; accuracies from 0 to 1.
        published: Configuration hash of a run -> published values of its cell.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None where no cell has both curves.
    """
    by_run = {
        str(run): part.set_index("step")["value"]
        for run, part in curves[curves["key"] == "test/accuracy"].groupby("run_id")
    }
    pairs = []
    for cell in found:
        theirs = [published.get(str(run.get("config_hash"))) for run in cell.runs]
        ours = [
            by_run[str(run["run_id"])]
            for run, known in zip(cell.runs, theirs, strict=True)
            if known and run["seed"] in cell.values and str(run.get("run_id")) in by_run
        ]
        of_cell = next((known for known in theirs if known and known.curves), None)
        if ours and of_cell:
            pairs.append((cell, ours, of_cell))
    if not pairs:
        return None
    several = len({cell.row for cell, _, _ in pairs}) > 1
    names = [f"{c.row}, {c.column}" if several else c.column for c, _, _ in pairs]
    page = page or Page()
    with styled(page):
        figure, every = panels(len(pairs), page)
        name_panels(figure, every, names, page)
        for axes, (_, ours, of_cell) in zip(every, pairs, strict=True):
            _draw(axes, ours, of_cell)
        every[0].set_ylim(0, 100)
        label_outside(every, "round", "test accuracy (%)")
        finish(figure, every, page, title, height=1.0)
    return figure


def _draw(axes: Axes, ours: Sequence[pd.Series[float]], published: PublishedCell) -> None:
    theirs = np.array([published.curves[seed] for seed in sorted(published.curves)])
    steps = published.every * np.arange(1, theirs.shape[1] + 1)
    _band(axes, steps, theirs, GREY, "--", "published")
    # Only rounds that every seed of ours has.
    shared = sorted(set.intersection(*(set(curve.index) for curve in ours)))
    if shared:
        values = 100 * np.array([curve.loc[shared].to_numpy(dtype=float) for curve in ours])
        _band(axes, np.array(shared), values, BLUE, "-", "ours")


def _band(
    axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, line: str, label: str
) -> None:
    axes.plot(steps, values.mean(axis=0), color=color, ls=line, lw=1.1, label=label)
    low, high = values.min(axis=0), values.max(axis=0)
    axes.fill_between(steps, low, high, color=color, alpha=0.25, lw=0)
