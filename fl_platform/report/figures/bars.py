"""What a mixing changes: bars of accuracy without and with it, as in the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fl_platform.report.cells import Cell, usual_strength
from fl_platform.report.figures.style import WIDTH, legend_below, marks, styled
from fl_platform.report.labels import printed_mixing
from fl_platform.report.tables.entries import axes as table_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mixing_bars(found: Sequence[Cell], title: str = "") -> Figure | None:
    """One panel a mixing, defenses in groups, one bar an attack with its 95 % interval.

    Args:
        found: Cells of settings that differ in mixing only.
        title: What is printed above.

    Returns:
        None where no mixing was run.
    """
    shown = [cell for cell in usual_strength(found) if cell.values]
    mixings = sorted({cell.setting.mixing for cell in shown})
    if not any(mixings):
        return None
    from matplotlib.figure import Figure

    rows, columns = table_axes(shown)
    looks = marks([cell.attack for cell in shown])
    step = 0.84 / len(rows)
    with styled():
        size = (WIDTH, 1.6 * len(mixings) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(mixings), 1, sharex=True, sharey=True, squeeze=False)
        for axes, mixing in zip(grid.flat, mixings, strict=True):
            name = f"with {printed_mixing(mixing)}" if mixing else "without mixing"
            axes.set_title(name, loc="left")
            for cell in shown:
                if cell.setting.mixing != mixing:
                    continue
                s, look = cell.summary(), looks[cell.attack]
                x = columns.index(cell.column) + (rows.index(cell.row) - (len(rows) - 1) / 2) * step
                axes.bar(
                    x,
                    s.mean,
                    width=0.9 * step,
                    facecolor=look.color if cell.attack == "strike" else "white",
                    edgecolor=look.color,
                    hatch=look.hatch,
                    lw=0.7,
                    label=cell.row,
                )
                if s.n > 1:
                    axes.errorbar(
                        x, s.mean, yerr=s.high - s.mean, color="black", elinewidth=0.6, capsize=1.2
                    )
            axes.grid(axis="x", visible=False)
            axes.set_ylabel("accuracy (%)")
            axes.set_ylim(bottom=0)
        grid[-1, 0].set_xticks(range(len(columns)), columns)
        legend_below(figure, columns=6)
        if title:
            figure.suptitle(title, fontsize=8)
    return figure
