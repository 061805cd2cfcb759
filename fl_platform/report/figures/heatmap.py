"""The worst case at a glance: attacks × defenses as a heatmap, the lowest of each column below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_platform.report.cells import Cell, usual_strength
from fl_platform.report.figures.layout import (
    LINE,
    Page,
    category_ticks,
    lines,
    put_title,
    settle,
    text_width,
    wrapped,
)
from fl_platform.report.figures.style import styled
from fl_platform.report.labels import REFERENCES
from fl_platform.report.tables.table import axes as table_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def worst_case_heatmap(found: Sequence[Cell], title: str = "", page: Page | None = None) -> Figure:
    """Mean accuracy of each attack against each defense, dark where the defense holds.

    Below a gap stands the worst case over the attacks (references apart). "div" marks a cell with
    a diverged run, and a worst case among which one diverged; a frame marks each column's lowest.

    Args:
        found: Cells of one setting.
        title: What is printed above.
        page: The page that it is printed on.
    """
    from matplotlib.figure import Figure

    page = page or Page()
    shown = usual_strength(found)
    rows, columns = table_axes(shown)
    at = {(cell.row, cell.column): cell for cell in shown}
    is_attack = np.array([_attacks(row, shown) for row in rows])
    values = np.array([[_mean(at.get((row, column))) for column in columns] for row in rows])
    worst = _lowest(values[is_attack])
    diverged = np.array([[_diverged(at.get((row, name))) for name in columns] for row in rows])

    names = [wrapped(name, 0.36 * page.width, page.small) for name in [*rows, "Worst case"]]
    labels = max(text_width(name, page.small) for name in names) + 0.2
    width = min(page.width, labels + 0.62 * page.scale * len(columns))
    room = (width - labels) / len(columns)
    texts = [*zip(values.ravel(), diverged.ravel(), strict=True)]
    texts += [*zip(worst, diverged[is_attack].any(axis=0), strict=True)]
    told = _Texts.fitting(texts, room, page)
    tallest = max(1.6 * page.small, told.height + 2, page.small * max(map(lines, names)) + 2)
    row_height = LINE * tallest
    with styled(page):
        figure = Figure(figsize=(width, row_height / 72 * (len(rows) + 1) + 1.0))
        figure.set_layout_engine("constrained", h_pad=0.02)
        ratios = {"height_ratios": [len(rows), 1]}
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=ratios)
        _draw(above, values, names[:-1])
        _draw(below, worst[None, :], names[-1:])
        for j in range(len(columns)):
            for i in range(len(rows)):
                if is_attack[i] and values[i, j] == worst[j]:
                    _frame(above, i, j)
                told.write(above, i, j, values[i, j], diverged[i, j])
            told.write(below, 0, j, worst[j], diverged[is_attack, j].any(), weight="bold")
        above.tick_params(labelbottom=False)
        category_ticks(below, columns, room, page)
        put_title(figure, title, page)
        settle(figure, above, row_height / 72 * len(rows), 1 + 1 / len(rows))
    return figure


@dataclass(frozen=True)
class _Texts:
    """How the numbers of a heatmap are printed: decimals, type size, "div" beside or below."""

    decimals: int
    size: float
    gap: str

    @classmethod
    def fitting(cls, cells: Sequence[tuple[float, bool]], room: float, page: Page) -> _Texts:
        """The first of ever smaller ways in which every cell fits ``room`` inches."""
        ways = [
            cls(decimals, size, gap)
            for decimals in (1, 0)
            for size in (page.small, page.small - 1, page.small - 2)
            for gap in (" ", "\n")
        ]
        for way in [*ways, cls(0, 4.0, "\n")]:
            if all(text_width(way.text(*cell), way.size) <= 0.88 * room for cell in cells):
                break
        return way

    @property
    def height(self) -> float:
        """Points that a cell's text is tall."""
        return self.size * (2 * LINE if self.gap == "\n" else 1)

    def text(self, value: float, diverged: bool) -> str:
        number = f"{value:.{self.decimals}f}" if math.isfinite(value) else ""
        words = [number, "div"] if diverged else [number or "–"]
        return self.gap.join(filter(None, words))

    def write(
        self, axes: Axes, i: int, j: int, value: float, diverged: bool, weight: str = "normal"
    ) -> None:
        color = "white" if math.isfinite(value) and value > 58 else "black"
        text = self.text(value, diverged)
        style: dict[str, Any] = {"fontsize": self.size, "weight": weight, "color": color}
        axes.text(j, i, text, ha="center", va="center", linespacing=1.0, **style)


def _attacks(row: str, shown: Sequence[Cell]) -> bool:
    return any(cell.row == row and cell.attack not in REFERENCES for cell in shown)


def _diverged(cell: Cell | None) -> bool:
    return cell is not None and bool(cell.diverged)


def _mean(cell: Cell | None) -> float:
    return math.nan if cell is None else cell.summary().mean


def _lowest(values: np.ndarray) -> np.ndarray:
    lowest = np.full(values.shape[1], math.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        lowest[known] = np.nanmin(values[:, known], axis=0)
    return lowest


def _draw(axes: Axes, values: np.ndarray, rows: list[str]) -> None:
    axes.set_facecolor("#E9E9E9")
    # One hue, falling in lightness: it reads the same in grey and to every eye.
    axes.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _frame(axes: Axes, i: int, j: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, fill=False, lw=1.3, ec="#D55E00"))
