"""What the page tells, in reading order: one function a section, cells in, section out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fl_platform.report import published as paper
from fl_platform.report.cells import Cell, Setting, by_setting
from fl_platform.report.figures import (
    accuracy_curves,
    beta_sweep,
    cloud_figure,
    kappa_figure,
    mixing_bars,
    nu_sweep,
    skew_figure,
    worst_case_heatmap,
)
from fl_platform.report.figures.embedding import LIMITS
from fl_platform.report.html import Collapsed, Picture, Section
from fl_platform.report.round_metrics import kappa_table, skew_table
from fl_platform.report.tables import (
    Table,
    accuracy_table,
    claims_table,
    cost_table,
    provenance_table,
    worst_case_table,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def accuracies(found: Sequence[Cell], accuracy: str) -> Section:
    """Accuracy tables, heatmaps and worst cases."""
    items: list[str | Picture | Table | Collapsed] = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Mean accuracy under each attack, and the worst case of each defense:"
            f" {setting.title()}. Dark is high; a frame marks the lowest attack of a column."
        )
        heatmap = worst_case_heatmap(group, setting.title())
        items += [
            accuracy_table(group, accuracy),
            Collapsed(claims_table(group)),
            Picture(f"worst-case-{setting.slug()}", heatmap, caption),
        ]
    return Section("Accuracy under attack", [*items, worst_case_table(found)])


def beside_the_paper(comparisons: Sequence[Table]) -> Section:
    """Ours beside the printed values, and what the paper leaves unknown."""
    text = f"Not printed in the paper, hence unknown here: {'; '.join(paper.UNKNOWN)}."
    return Section("Beside the paper", [*comparisons, text] if comparisons else ())


def over_rounds(found: Sequence[Cell], curves: pd.DataFrame) -> Section:
    """Accuracy curves of each setting."""
    pictures: list[Picture] = []
    for setting, group in by_setting(found).items():
        figure = accuracy_curves(group, curves, title=setting.title())
        caption = (
            f"Test accuracy over rounds: {setting.title()}. Lines are means over finished seeds,"
            " bands ± one standard deviation; a thin dotted line ending in a cross diverged."
        )
        pictures += _picture(f"curves-{setting.slug()}", figure, caption)
    return Section("Over the rounds", pictures)


def sweeps(found: Sequence[Cell]) -> Section:
    """nu, beta and mixing, wherever the runs vary them."""
    pictures: list[Picture] = []
    for setting, group in by_setting(found).items():
        caption = (
            f"STRIKE's strength: {setting.title()}. Bars are 95 % intervals over seeds; the"
            " dashed line is ν = 1, the largest step that the attack's own constraint allows."
        )
        figure = nu_sweep(group, title=setting.title())
        pictures += _picture(f"nu-{setting.slug()}", figure, caption)
    for setting, group in _alike(found, beta=None).items():
        caption = (
            f"Heterogeneity: {setting.title()}. Smaller β is more heterogeneous; bars are 95 %"
            " intervals over seeds."
        )
        figure = beta_sweep(group, title=setting.title())
        pictures += _picture(f"beta-{setting.slug()}", figure, caption)
    for setting, group in _alike(found, mixing="").items():
        caption = f"Without and with mixing: {setting.title()}. Bars are 95 % intervals over seeds."
        figure = mixing_bars(group, title=setting.title())
        pictures += _picture(f"mixing-{setting.slug()}", figure, caption)
    return Section("Sweeps", pictures)


def skewness(
    found: Sequence[Cell], curves: pd.DataFrame | None, clouds: Sequence[Mapping[str, Any]]
) -> Section:
    """Skew statistics against their null, empirical kappa, and the clouds."""
    pictures: list[Picture] = []
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for cloud in sorted(clouds, key=lambda cloud: (str(cloud.get("name", "")), cloud["step"])):
        by_name.setdefault(str(cloud.get("name", "")), []).append(cloud)
    for name, group in by_name.items():
        figure = cloud_figure(group)
        pictures += _picture("cloud", figure, f"Updates in the plane: {name}. {LIMITS}")
    if curves is not None and not curves.empty:
        for setting, cells in by_setting(found).items():
            caption = (
                f"Skew of the honest updates: {setting.title()}. Only what leaves the grey band is"
                " more than symmetric updates would show."
            )
            figure = skew_figure(skew_table(cells, curves), title=setting.title())
            pictures += _picture(f"skew-{setting.slug()}", figure, caption)
            caption = (
                f"Robustness reached by the attacks: {setting.title()}. Points are the largest"
                " empirical κ of any round; a bar is the constant that holds for every attack."
            )
            figure = kappa_figure(kappa_table(cells, curves), title=setting.title())
            pictures += _picture(f"kappa-{setting.slug()}", figure, caption)
    return Section("Gradient skew", pictures)


def accounts(found: Sequence[Cell]) -> Section:
    """What the cells cost, and where every number comes from."""
    tables = [cost_table(group) for group in by_setting(found).values()]
    tables.append(provenance_table(found))
    return Section("Cost and provenance", [Collapsed(table) for table in tables])


def _alike(found: Sequence[Cell], **common: Any) -> dict[Setting, list[Cell]]:
    groups: dict[Setting, list[Cell]] = {}
    for cell in found:
        groups.setdefault(replace(cell.setting, **common), []).append(cell)
    return groups


def _picture(name: str, figure: Figure | None, caption: str) -> list[Picture]:
    return [] if figure is None else [Picture(name, figure, caption)]
