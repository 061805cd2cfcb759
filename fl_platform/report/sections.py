"""Sections of the page in reading order: one function per section, from cells."""

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
from fl_platform.report.html import Collapsible, Picture, Section
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
    items: list[str | Picture | Table | Collapsible] = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Mean accuracy under each attack, and the worst case of each defense:"
            f" {setting.title()}. Dark is high; a frame marks the lowest accuracy of a column."
        )
        heatmap = worst_case_heatmap(group, setting.title())
        items += [
            accuracy_table(group, accuracy),
            Collapsible(claims_table(group)),
            Picture(f"worst-case-{setting.slug()}", heatmap, caption),
        ]
    return Section("Accuracy under attack", [*items, worst_case_table(found)])


def beside_the_paper(comparisons: Sequence[Table]) -> Section:
    """Our values beside the published ones, and what the paper does not state."""
    text = f"Not stated in the paper: {'; '.join(paper.UNKNOWN)}."
    return Section("Comparison with the paper", [*comparisons, text] if comparisons else ())


def over_rounds(found: Sequence[Cell], curves: pd.DataFrame) -> Section:
    """Accuracy curves per setting."""
    pictures: list[Picture] = []
    for setting, group in by_setting(found).items():
        figure = accuracy_curves(group, curves, title=setting.title())
        caption = (
            f"Test accuracy over rounds: {setting.title()}. Lines: means over finished seeds;"
            " bands: ± one standard deviation; thin dotted lines with a cross: diverged runs."
        )
        pictures += _picture(f"curves-{setting.slug()}", figure, caption)
    return Section("Accuracy per round", pictures)


def sweeps(found: Sequence[Cell]) -> Section:
    """Sweeps of nu, beta and pre-aggregation, if the runs vary them."""
    pictures: list[Picture] = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Strength of STRIKE: {setting.title()}. Bars: 95 % intervals over seeds; dashed line:"
            " ν = 1, the largest step that satisfies the constraint of the attack."
        )
        figure = nu_sweep(group, title=setting.title())
        pictures += _picture(f"nu-{setting.slug()}", figure, caption)
    for setting, group in _alike(found, beta=None).items():
        caption = (
            f"Heterogeneity: {setting.title()}. Smaller β is more heterogeneous; bars: 95 %"
            " intervals over seeds."
        )
        figure = beta_sweep(group, title=setting.title())
        pictures += _picture(f"beta-{setting.slug()}", figure, caption)
    for setting, group in _alike(found, mixing="").items():
        caption = (
            f"Without and with pre-aggregation: {setting.title()}. Bars: 95 % intervals over seeds."
        )
        figure = mixing_bars(group, title=setting.title())
        pictures += _picture(f"mixing-{setting.slug()}", figure, caption)
    return Section("Sweeps", pictures)


def skewness(
    found: Sequence[Cell], curves: pd.DataFrame | None, clouds: Sequence[Mapping[str, Any]]
) -> Section:
    """Skew statistics with their null, empirical kappa, and the embeddings of updates."""
    pictures: list[Picture] = []
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for cloud in sorted(clouds, key=lambda cloud: (str(cloud.get("name", "")), cloud["step"])):
        by_name.setdefault(str(cloud.get("name", "")), []).append(cloud)
    for name, group in by_name.items():
        figure = cloud_figure(group)
        pictures += _picture("cloud", figure, f"Updates in two dimensions: {name}. {LIMITS}")
    if curves is not None and not curves.empty:
        for setting, cells in by_setting(found).items():
            caption = (
                f"Skew of the honest updates: {setting.title()}. Values inside the grey band are"
                " consistent with symmetric updates."
            )
            figure = skew_figure(skew_table(cells, curves), title=setting.title())
            pictures += _picture(f"skew-{setting.slug()}", figure, caption)
            caption = (
                f"Robustness constant: {setting.title()}. Points: largest empirical κ of any round;"
                " bars: the proven constant, valid for every attack."
            )
            figure = kappa_figure(kappa_table(cells, curves), title=setting.title())
            pictures += _picture(f"kappa-{setting.slug()}", figure, caption)
    return Section("Gradient skew", pictures)


def cost_and_provenance(found: Sequence[Cell]) -> Section:
    """Cost of the cells and provenance of every number."""
    tables = [cost_table(group) for group in by_setting(found).values()]
    tables.append(provenance_table(found))
    return Section("Cost and provenance", [Collapsible(table) for table in tables])


def _alike(found: Sequence[Cell], **common: Any) -> dict[Setting, list[Cell]]:
    groups: dict[Setting, list[Cell]] = {}
    for cell in found:
        groups.setdefault(replace(cell.setting, **common), []).append(cell)
    return groups


def _picture(name: str, figure: Figure | None, caption: str) -> list[Picture]:
    return [] if figure is None else [Picture(name, figure, caption)]
