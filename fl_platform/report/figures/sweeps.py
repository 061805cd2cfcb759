"""Accuracy against one parameter: the paper's Figure 7 (nu) and Figure 8 (beta)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fl_platform.report.cells import Cell, usual_strength
from fl_platform.report.figures.layout import Page, category_ticks, text_width, wrapped
from fl_platform.report.figures.style import (
    GREY,
    finish,
    label_outside,
    name_panels,
    panels,
    row_marks,
    styled,
)
from fl_platform.report.short_names import printed_mixing
from fl_platform.report.tables.table import axes as table_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fl_platform.report.figures.style import Mark


def nu_sweep(
    found: Sequence[Cell], attack: str = "strike", title: str = "", page: Page | None = None
) -> Figure | None:
    """Mean accuracy over nu, one line a defense, nu = 1 marked; bars are 95 % intervals.

    Args:
        found: Cells of one setting.
        attack: The attack whose nu varies.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None with fewer than three values of nu.
    """
    swept = [c for c in found if c.attack == attack and c.nu is not None and c.values]
    if len({cell.nu for cell in swept}) < 3:
        return None
    from matplotlib.figure import Figure

    _, columns = table_axes(swept)
    looks = row_marks({cell.column: cell.defense for cell in swept})
    page = page or Page()
    with styled(page):
        size = (min(page.width, 4.2 * page.scale), 3.0)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.axvline(1.0, color=GREY, lw=0.8, ls=(0, (4, 2)), zorder=1)
        for column in columns:
            line = sorted((c for c in swept if c.column == column), key=lambda c: c.nu or 0.0)
            _line(axes, [c.nu or 0.0 for c in line], line, looks[column], column)
        _number_ticks(axes, sorted({cell.nu for cell in swept if cell.nu is not None}), page)
        axes.text(
            1.0,
            1.01,
            "ν = 1",
            ha="center",
            va="bottom",
            fontsize=page.small,
            color="#444444",
            transform=axes.get_xaxis_transform(),
        )
        axes.set_xlabel("ν (strength of STRIKE)")
        axes.set_ylabel("test accuracy (%)")
        axes.set_ylim(bottom=0)
        finish(figure, [axes], page, title, height=2.0)
    return figure


def _number_ticks(axes: Axes, values: Sequence[float], page: Page) -> None:
    """A tick at each value, named where its name does not meet the one before it."""
    texts = [f"{value:g}" for value in values]
    widest = max(text_width(text, page.small) for text in texts) + 0.06
    room = min(page.width, 4.2 * page.scale) - 1.0 * page.scale
    span = (max(values) - min(values)) or 1.0
    last, names = -float("inf"), []
    for value, text in zip(values, texts, strict=True):
        place = (value - min(values)) / span * room
        names.append(text if place - last >= widest else "")
        last = place if names[-1] else last
    axes.set_xticks(values, names)


def beta_sweep(found: Sequence[Cell], title: str = "", page: Page | None = None) -> Figure | None:
    """Mean accuracy over beta with IID at the right: one panel a defense, one line an attack.

    Args:
        found: Cells of settings that differ in beta only; no beta stands for IID.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None with fewer than three levels.
    """
    shown = [cell for cell in usual_strength(found) if cell.values]
    betas = sorted({c.setting.beta for c in shown if c.setting.beta is not None})
    iid = any(cell.setting.beta is None for cell in shown)
    if len(betas) + iid < 3:
        return None
    _, columns = table_axes(shown)
    looks = row_marks({cell.row: cell.attack for cell in shown})
    page = page or Page()
    # Evenly spaced: the levels are categories, and IID is no number (it is beta -> infinity).
    place = {beta: float(index) for index, beta in enumerate(betas)}
    with styled(page):
        figure, every = panels(len(columns), page)
        name_panels(figure, every, columns, page)
        for axes, column in zip(every, columns, strict=True):
            here = [cell for cell in shown if cell.column == column]
            for row in dict.fromkeys(cell.row for cell in here):
                line = [cell for cell in here if cell.row == row]
                look = looks[row]
                finite = sorted(
                    (c for c in line if c.setting.beta is not None),
                    key=lambda c: c.setting.beta or 0.0,
                )
                at = [place[c.setting.beta] for c in finite if c.setting.beta is not None]
                _line(axes, at, finite, look, row)
                last = [c for c in line if c.setting.beta is None]
                _line(axes, [len(betas) + 0.3] * len(last), last, look, row, alone=True)
            ticks = [*range(len(betas)), *([len(betas) + 0.3] if iid else [])]
            names = [*(f"{b:g}" for b in betas), *(["IID"] if iid else [])]
            turned = len(names) * text_width("0.001", page.small) > 0.8 * page.scale
            axes.set_xticks(ticks, names, rotation=90 if turned else 0)
        label_outside(every, "β", "test accuracy (%)")
        every[0].set_ylim(bottom=0)
        finish(figure, every, page, title, height=1.2)
    return figure


def _line(
    axes: Axes, x: Sequence[float], line: list[Cell], look: Mark, label: str, alone: bool = False
) -> None:
    if not line:
        return
    summaries = [cell.summary() for cell in line]
    y = [s.mean for s in summaries]
    error = [0.0 if s.n < 2 else s.high - s.mean for s in summaries]
    axes.errorbar(
        x,
        y,
        yerr=error if any(error) else None,
        color=look.color,
        marker=look.marker or ".",
        ls="" if alone else look.line,
        lw=1.8 if line[0].attack == "strike" and not alone else 1.1,
        ms=4,
        elinewidth=0.6,
        capsize=1.5,
        label=label,
    )


def mixing_bars(found: Sequence[Cell], title: str = "", page: Page | None = None) -> Figure | None:
    """One panel a mixing, defenses in groups, one bar an attack with its 95 % interval.

    Args:
        found: Cells of settings that differ in mixing only.
        title: What is printed above.
        page: The page that it is printed on.

    Returns:
        None where no mixing was run.
    """
    shown = [cell for cell in usual_strength(found) if cell.values]
    mixings = sorted({cell.setting.mixing for cell in shown})
    if not any(mixings):
        return None
    from matplotlib.figure import Figure

    rows, columns = table_axes(shown)
    looks = row_marks({cell.row: cell.attack for cell in shown})
    step = 0.84 / len(rows)
    page = page or Page()
    with styled(page):
        size = (page.width, 1.6 * page.scale * len(mixings) + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(mixings), 1, sharex=True, sharey=True, squeeze=False)
        for axes, mixing in zip(grid.flat, mixings, strict=True):
            name = f"with {printed_mixing(mixing)}" if mixing else "without mixing"
            axes.set_title(wrapped(name, page.width - 0.8, page.font), loc="left")
            for cell in shown:
                if cell.setting.mixing != mixing:
                    continue
                s, look = cell.summary(), looks[cell.row]
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
        room = (page.width - 0.6 * page.scale) / len(columns)
        category_ticks(grid[-1, 0], columns, room, page)
        finish(figure, list(grid.flat), page, title, height=1.1)
    return figure
