"""Sections of the page in reading order: one function per section, from cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fl_platform.report import published as paper
from fl_platform.report.cells import Cell, Setting, by_setting, settings_note
from fl_platform.report.figures import (
    accuracy_curves,
    beta_sweep,
    cloud_figure,
    embedded,
    kappa_figure,
    mixing_bars,
    nu_sweep,
    published_curves,
    skew_figure,
    worst_case_heatmap,
)
from fl_platform.report.figures.embedding import LIMITS
from fl_platform.report.figures.layout import Page
from fl_platform.report.html import Collapsible, Picture, Section
from fl_platform.report.round_metrics import kappa_table, skew_table
from fl_platform.report.tables import (
    Table,
    accuracy_table,
    best_table,
    claims_table,
    cost_table,
    provenance_table,
    worst_case_table,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


Items = list[str | Picture | Table | Collapsible]


def accuracies(found: Sequence[Cell], accuracy: str, page: Page) -> Section:
    """Accuracy tables, heatmaps and worst cases."""
    items: Items = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Mean accuracy under each attack, and the worst case of each defense:"
            f" {setting.title()}. Dark is high; a frame marks the lowest accuracy of a column."
        )
        items += [accuracy_table(group, accuracy)]
        items += [Collapsible(claims_table(group)), Collapsible(best_table(group))]
        items += _picture(
            "heatmap",
            partial(worst_case_heatmap, group, setting.title(), page),
            f"{caption} {settings_note(group)}",
            setting,
        )
    return Section("Accuracy under attack", [*items, worst_case_table(found)])


def beside_the_paper(
    comparisons: Sequence[Table],
    found: Sequence[Cell],
    curves: pd.DataFrame | None,
    restated: paper.Restated,
    page: Page,
) -> Section:
    """Our values and curves beside the published ones, and what the paper does not state."""
    if not comparisons:
        return Section("Comparison with the paper")
    if not restated.cells:
        text = f"Not stated in the paper: {'; '.join(paper.UNKNOWN)}."
        return Section("Comparison with the paper", [*comparisons, text])
    items: Items = [*comparisons, f"Open or different: {' '.join(restated.unknown)}"]
    for setting, group in by_setting(found).items():
        if curves is not None and not curves.empty:
            caption = (
                f"Test accuracy of ours and of the authors: {setting.title()}. Lines: means over"
                f" seeds; bands: from the lowest to the highest seed. {settings_note(group)}"
            )
            draw = partial(published_curves, group, curves, restated.cells, setting.title(), page)
            items += _picture("published-curves", draw, caption, setting)
    return Section("Comparison with the paper", items)


def over_rounds(found: Sequence[Cell], curves: pd.DataFrame, page: Page) -> Section:
    """Accuracy curves per setting."""
    pictures: Items = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Test accuracy over rounds: {setting.title()}. Lines: means over finished seeds;"
            " bands: ± one standard deviation; thin dotted lines with a cross: diverged runs."
            f" {settings_note(group)}"
        )
        pictures += _picture(
            "curves",
            partial(accuracy_curves, group, curves, title=setting.title(), page=page),
            caption,
            setting,
        )
    return Section("Accuracy per round", pictures)


def sweeps(found: Sequence[Cell], page: Page) -> Section:
    """Sweeps of nu, beta and pre-aggregation, if the runs vary them."""
    pictures: Items = []
    for setting, group in by_setting(found).items():
        caption = (
            f"Strength of STRIKE: {setting.title()}. Bars: 95 % intervals over seeds; dashed line:"
            " ν = 1, the largest step that satisfies the constraint of the attack."
        )
        pictures += _picture(
            "nu",
            partial(nu_sweep, group, title=setting.title(), page=page),
            f"{caption} {settings_note(group)}",
            setting,
        )
    for setting, group in _alike(found, beta=None).items():
        caption = (
            f"Heterogeneity: {setting.title()}. Smaller β is more heterogeneous; bars: 95 %"
            " intervals over seeds."
        )
        pictures += _picture(
            "beta",
            partial(beta_sweep, group, title=setting.title(), page=page),
            f"{caption} {settings_note(group)}",
            setting,
        )
    for setting, group in _alike(found, mixing="").items():
        caption = (
            f"Without and with pre-aggregation: {setting.title()}. Bars: 95 % intervals over seeds."
        )
        pictures += _picture(
            "mixing",
            partial(mixing_bars, group, title=setting.title(), page=page),
            f"{caption} {settings_note(group)}",
            setting,
        )
    return Section("Sweeps", pictures)


def skewness(
    found: Sequence[Cell],
    curves: pd.DataFrame | None,
    clouds: Sequence[Mapping[str, Any]],
    page: Page,
) -> Section:
    """Skew statistics with their null, empirical kappa, and the embeddings of updates."""
    pictures = _clouds(clouds, page)
    if curves is None or curves.empty:
        return Section("Gradient skew", pictures)
    for setting, group in by_setting(found).items():
        table = skew_table(group, curves)
        null = (
            "Values inside the grey band are consistent with symmetric updates."
            if table["null_mean"].notna().any()
            else "The values of symmetric updates were not logged (observers.skew.null_every=0)."
        )
        pictures += _picture(
            "skew",
            partial(skew_figure, table, title=setting.title(), page=page),
            f"Skew of the honest updates: {setting.title()}. {null}",
            setting,
        )
        kappas = kappa_table(group, curves)
        caption = (
            f"Robustness constant: {setting.title()}. Points: largest empirical κ of any round;"
            " bars: the proven constant, valid for every attack."
        )
        pictures += _picture(
            "kappa",
            partial(kappa_figure, kappas, title=setting.title(), page=page),
            f"{caption} {settings_note(group)}",
            setting,
        )
    return Section("Gradient skew", pictures)


def _clouds(clouds: Sequence[Mapping[str, Any]], page: Page) -> Items:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for cloud in sorted(clouds, key=lambda cloud: (str(cloud.get("name", "")), cloud["step"])):
        by_name.setdefault(str(cloud.get("name", "")), []).append(cloud)
    items: Items = []
    for name, group in by_name.items():
        drawn, left_out = embedded(group)
        kind = "cloud" if len(by_name) == 1 else f"cloud-{name}"
        caption = f"Updates in two dimensions: {name}. {LIMITS}"
        items += _picture(kind, partial(cloud_figure, drawn, title=name, page=page), caption)
        items += [f"No picture of the updates of {name}, {reason}" for reason in left_out]
    return items


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


def _picture(
    kind: str, draw: Callable[[], Figure | None], caption: str, setting: Setting | None = None
) -> Items:
    """The picture, nothing where there is none to draw, or a sentence that says why it failed.

    A number that cannot be drawn costs its own picture, and nothing else of the report.
    """
    try:
        figure = draw()
    except (ValueError, ArithmeticError) as error:
        about = kind if setting is None else f"{kind}, {setting.title()}"
        return [f"Figure left out ({about}): {error}"]
    return [] if figure is None else [Picture(kind, figure, caption.strip(), setting)]
