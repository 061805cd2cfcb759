"""The worst case at a glance: attacks × defenses as a heatmap, the lowest of each column below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fl_platform.report.cells import Cell, usual_strength
from fl_platform.report.figures.style import WIDTH, styled
from fl_platform.report.labels import REFERENCES
from fl_platform.report.tables.table import axes as table_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def worst_case_heatmap(found: Sequence[Cell], title: str = "") -> Figure:
    """Mean accuracy of each attack against each defense, dark where the defense holds.

    Below a gap stands the worst case over the attacks (references apart). "div" marks a cell with
    a diverged run, and a worst case among which one diverged; a frame marks each column's lowest.

    Args:
        found: Cells of one setting.
        title: What is printed above.
    """
    from matplotlib.figure import Figure

    shown = usual_strength(found)
    rows, columns = table_axes(shown)
    at = {(cell.row, cell.column): cell for cell in shown}
    attacks = {cell.row for cell in shown if cell.attack not in REFERENCES}
    values = np.array([[_mean(at.get((row, column))) for column in columns] for row in rows])
    is_attack = np.array([row in attacks for row in rows])
    worst = _lowest(values[is_attack])
    diverged = {key for key, cell in at.items() if cell.diverged}

    with styled():
        height = 0.27 * (len(rows) + 1) + 1.0
        size = (min(WIDTH, 1.6 + 0.75 * len(columns)), height)
        figure = Figure(figsize=size, layout="constrained")
        ratios = [len(rows), 1]
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
        image = _draw(above, values, rows)
        _draw(below, worst[None, :], ["Worst case"])
        for j, column in enumerate(columns):
            hit = False
            for i, row in enumerate(rows):
                if is_attack[i] and values[i, j] == worst[j]:
                    _frame(above, i, j)
                label = f"{values[i, j]:.1f}" if math.isfinite(values[i, j]) else ""
                div = (row, column) in diverged
                hit = hit or (div and row in attacks)
                _write(above, i, j, f"{label} div".strip() if div else label or "–", values[i, j])
            text = f"{worst[j]:.1f}" if math.isfinite(worst[j]) else "–"
            _write(below, 0, j, f"{text} div" if hit else text, worst[j], weight="bold")
        above.tick_params(labelbottom=False)
        below.set_xticks(range(len(columns)), columns)
        if max(len(column) for column in columns) > 11 or len(columns) > 8:
            below.tick_params(axis="x", rotation=30)
        bar = figure.colorbar(image, ax=[above, below], label="accuracy (%)", pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        if title:
            figure.suptitle(title, fontsize=8)
    return figure


def _mean(cell: Cell | None) -> float:
    return math.nan if cell is None else cell.summary().mean


def _lowest(values: np.ndarray) -> np.ndarray:
    lowest = np.full(values.shape[1], math.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        lowest[known] = np.nanmin(values[:, known], axis=0)
    return lowest


def _draw(axes: Axes, values: np.ndarray, rows: list[str]) -> AxesImage:
    axes.set_facecolor("#E9E9E9")
    # One hue, falling in lightness: it reads the same in grey and to every eye.
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _write(axes: Axes, i: int, j: int, text: str, value: float, weight: str = "normal") -> None:
    color = "white" if math.isfinite(value) and value > 58 else "black"
    axes.text(j, i, text, ha="center", va="center", color=color, fontsize=7, weight=weight)


def _frame(axes: Axes, i: int, j: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, fill=False, lw=1.3, ec="#D55E00"))
