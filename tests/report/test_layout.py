"""No label is cut, none meets another, and the axes keep a sensible size, whatever the names."""

import itertools

import matplotlib.text
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fl_platform.report.cells import cells
from fl_platform.report.figures import (
    accuracy_curves,
    beta_sweep,
    cloud_figure,
    embedded,
    kappa_figure,
    mixing_bars,
    nu_sweep,
    skew_figure,
    worst_case_heatmap,
)
from fl_platform.report.figures.layout import Page, text_width, wrapped
from fl_platform.report.figures.style import styled
from fl_platform.report.round_metrics import kappa_table, skew_table
from tests.report.synthetic import ATTACKS, DEFENSES, cloud, curves_of, grid

OFFICIAL = {
    "strike": "strike(nu=1, median=upper, search=bisection, outnumbered=push)",
    "mimic": "mimic(after=again, score=absolute, centre=current)",
    "dnc": "dnc(coordinates=1000, replacement=True)",
}
OWN_ATTACKS = [f"adaptive_attack_with_a_long_name_{i}" for i in range(10)]
OWN_ATTACKS.append("OneVeryLongNameWithoutAnyPlaceToBreakItInto" * 2)
OWN_DEFENSES = [f"robust_aggregator_with_momentum_and_clipping_{i}" for i in range(4)]
PAGES = {"one": Page(3.3, 7), "two": Page(6.9, 8), "large": Page(5.5, 11)}


def runs(columns, rows):
    attacks, defenses = [*ATTACKS, *OWN_ATTACKS][-rows:], [*DEFENSES, *OWN_DEFENSES][-columns:]
    frame = grid(attacks=attacks, defenses=defenses, seeds=range(2), preset="official")
    for column in ("attack", "defense"):
        names = frame[column]
        frame[f"{column}_label"] = [
            OFFICIAL.get(n, f"{n}(threshold=0.25, warm_up=10)" if "_with_" in n else n)
            for n in names
        ]
    frame.loc[frame.index[::7], "status"] = "DIVERGED"
    return frame


def variants(frame, column, values):
    """The runs once for each value of a column, each a configuration of its own."""
    return pd.concat(
        frame.assign(**{column: value}, config_hash=frame["config_hash"] + str(value))
        for value in values
    )


def drawn_texts(figure):
    """(text, box in pixels) of everything that is written; ticks outside the view are not."""
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not (low <= tick.get_loc() <= high and axes.get_visible()):
                    hidden |= {id(tick.label1), id(tick.label2)}
        if not axes.get_visible():
            hidden |= {id(text) for text in axes.findobj(matplotlib.text.Text)}
    return [
        (text, text.get_window_extent())
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]


def faults(figure):
    """Texts that are cut or that meet another, and axes that are too small."""
    found = []
    texts = drawn_texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in texts:
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
            found.append(f"cut: {text.get_text()!r}")
    for (one, a), (two, b) in itertools.combinations(texts, 2):
        across, upward = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1 and upward > 1:
            found.append(f"overlap: {one.get_text()!r} and {two.get_text()!r}")
    for axes in figure.axes:
        box = axes.get_window_extent()
        if axes.get_visible() and (box.width < 0.19 * width or box.height < 0.12 * figure.dpi):
            found.append(f"small axes: {box.width / width:.2f}, {box.height / figure.dpi:.2f} in")
    return found


def nu_cells(frame):
    one = frame[frame["attack"] == frame["attack"].iloc[0]]
    parts = [
        one.assign(attack="strike", nu=nu, attack_label=f"strike(nu={nu}, k=5)")
        for nu in (0.25, 0.5, 0.75, 1, 1.05, 1.5, 2, 3)
    ]
    return cells(pd.concat(parts))


FIGURES = {
    "heatmap": lambda f, t, p: worst_case_heatmap(cells(f), t, p),
    "curves": lambda f, t, p: accuracy_curves(cells(f), curves_of(f), title=t, page=p),
    "kappa": lambda f, t, p: kappa_figure(kappa_table(cells(f), curves_of(f, extra=True)), t, p),
    "skew": lambda f, t, p: skew_figure(skew_table(cells(f), curves_of(f, extra=True)), t, p),
    "beta": lambda f, t, p: beta_sweep(
        cells(variants(f, "beta", (0.001, 0.1, 0.2, 0.5, 0.7, 0.9, float("nan")))), t, p
    ),
    "mixing": lambda f, t, p: mixing_bars(
        cells(variants(f, "mixing", ("", "nnm(include_self=False)+bucketing(s=2, f_after=ceil)"))),
        t,
        p,
    ),
    "nu": lambda f, t, p: nu_sweep(nu_cells(f), title=t, page=p),
    "cloud": lambda f, t, p: cloud_figure(embedded([cloud(s) for s in range(5)])[0], t, p),
}
TITLE = "CIFAR-10, with NNM, β = 0.5, 50 clients, 20 % Byzantine, 200 rounds, preset official"


CASES = [(kind, 12, 20, page) for kind in FIGURES for page in ("one", "two")]
CASES += [(kind, 3, 3, "one") for kind in FIGURES] + [("heatmap", 7, 9, "large")]


@pytest.mark.parametrize(("kind", "columns", "rows", "page"), CASES)
def test_every_label_has_its_room(kind, columns, rows, page):
    figure = FIGURES[kind](runs(columns, rows), TITLE, PAGES[page])
    assert faults(figure) == []
    assert figure.get_figwidth() <= PAGES[page].width + 1e-9
    if kind == "heatmap":
        for axes in figure.axes:
            room = axes.get_window_extent().width / columns
            assert all(text.get_window_extent().width < room for text in axes.texts)


def test_a_label_without_room_would_be_seen():
    with styled():
        figure = Figure(figsize=(3.3, 2))
        axes = figure.subplots()
        axes.set_yticks([0, 1], [OFFICIAL["strike"], OFFICIAL["mimic"]])
        axes.set_xticks([0, 1, 1.1], ["a", "a long name", "a long name"])
    told = " ".join(faults(figure))
    assert "cut" in told
    assert "overlap" in told


def test_lines_keep_every_letter_and_their_width():
    for name in [*OFFICIAL.values(), *OWN_ATTACKS, "a b", ""]:
        lines = wrapped(name, 0.8, 7)
        assert lines.replace("\n", "").replace(" ", "") == name.replace(" ", "")
        assert all(text_width(line, 7) <= 0.8 for line in lines.split("\n") if line)
