"""Comparison with published values: difference, interval and verdict per cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fl_platform.report import published as paper
from fl_platform.report.cells import Cell, settings_note, usual_strength
from fl_platform.report.statistics import (
    MARGIN,
    Difference,
    band_verdict,
    difference_to_published,
    summarize,
    verdict,
)
from fl_platform.report.tables.table import Table, TableEntry, entry, only_setting, record, signed

COMPARED = ("task", "preset", "mixing", "beta", "attack", "nu", "defense", "n", "mean", "sd")


def comparison_table(found: Sequence[Cell]) -> Table | None:
    """Our value beside the published one per cell, with difference and verdict.

    None if no cell has a published value. Of a sweep over nu, the value nearest to 1 is compared.
    """
    setting = only_setting(found)
    body, records = [], []
    tables = set()
    for cell in usual_strength(found):
        mixing = setting.mixing.partition("(")[0]
        printed = paper.find(setting.task, cell.attack, cell.defense, mixing)
        if printed is not None:
            tables.add(printed.table)
            row, values = _compared(cell, printed)
            body.append(row)
            records.append(values)
    if not body:
        return None
    which = " and ".join(str(table) for table in sorted(tables))
    return Table(
        name="published",
        setting=setting,
        title=f"Comparison with the paper's Table {which}: {setting.title()}",
        header=("Attack", "Defense", "Ours", "Published", "Difference [90 %]", "Verdict"),
        rows=tuple(body),
        notes=(
            paper.ASSUMPTION,
            f"agrees: the 90 % interval of ours minus published lies within ±{MARGIN:g} points."
            f" differs: the interval excludes 0 and reaches beyond ±{MARGIN:g} points. cannot tell:"
            " otherwise, or no interval (fewer than 3 seeds of ours, or no published deviation).",
            *filter(None, [settings_note(found)]),
        ),
        records=tuple(records),
    )


def _compared(
    cell: Cell, printed: paper.Published
) -> tuple[tuple[TableEntry, ...], dict[str, object]]:
    values = [cell.values[seed] for seed in sorted(cell.values)]
    difference = difference_to_published(values, printed.mean, printed.sd, printed.n_assumed)
    found = verdict(difference)
    gap = cell.summary().mean - printed.mean
    gap_text = _gap(gap, difference) if values else "–"
    spread = "unknown" if printed.sd is None else f"{printed.sd:.2f}"
    why = "" if difference is not None else _why_no_interval(len(values), printed.sd)
    row = (
        TableEntry(cell.row),
        TableEntry(cell.column),
        entry(cell, -1),
        TableEntry(f"{printed.mean:.2f} ± {spread}"),
        TableEntry(gap_text),
        TableEntry(f"{found} ({why})" if why else found, style=found),
    )
    ours = record(cell)
    return row, {
        **{key: ours[key] for key in COMPARED},
        "published_table": printed.table,
        "published_mean": printed.mean,
        "published_sd": printed.sd,
        "published_n_assumed": printed.n_assumed,
        "difference": gap,
        "difference_low90": None if difference is None else difference.low,
        "difference_high90": None if difference is None else difference.high,
        "verdict": found,
    }


def restated_table(
    found: Sequence[Cell], restated: paper.Restated, accuracy: str = "tail"
) -> Table | None:
    """Our value beside that of a restated paper per cell; None if no run belongs to the paper.

    Only runs whose whole configuration is the restated one are compared.

    Args:
        found: Cells of one setting.
        restated: Published cells by configuration hash.
        accuracy: tail, last or best; measured alike on published curves.
    """
    setting = only_setting(found)
    body, records = [], []
    for cell in found:
        runs = {run["seed"]: restated.cells.get(str(run.get("config_hash"))) for run in cell.runs}
        printed = next((p for p in runs.values() if p is not None), None)
        if printed is not None:
            values = [cell.values[seed] for seed in sorted(cell.values) if runs.get(seed)]
            row, values_at_full = _beside(cell, values, printed, accuracy)
            body.append(row)
            records.append(values_at_full)
    if not body:
        return None
    return Table(
        name="published",
        setting=setting,
        title=f"Beside the published values: {setting.title()}",
        header=("Attack", "Defense", "Ours", "Published", "Band", "Difference [90 %]", "Verdict"),
        rows=tuple(body),
        notes=(
            f"Source: {restated.source}. Values: {restated.origin}.",
            f"Accuracy in percent, {MEASURES[accuracy]}, of both. Band: the lowest and the highest"
            " of the authors' seeds (mean ± standard deviation where seeds are not published)."
            " agrees: our mean lies in the band widened at both ends by the half width of our own"
            " 95 % t interval. differs: outside. cannot tell: fewer than 3 seeds of ours, or no"
            " band. Difference: ours minus published with Welch's interval.",
            *filter(None, [settings_note(found)]),
        ),
        records=tuple(records),
    )


MEASURES = {
    "tail": "mean over the last evaluations of a run",
    "last": "of the last evaluation of a run",
    "best": "of the best evaluation of a run",
}


def _beside(
    cell: Cell, values: list[float], printed: paper.PublishedCell, accuracy: str
) -> tuple[tuple[TableEntry, ...], dict[str, object]]:
    theirs = printed.values(accuracy)
    mean, sd, n = printed.printed
    low, high = mean - sd, mean + sd
    if theirs:
        found = summarize(theirs)
        mean, sd, n, low, high = found.mean, found.sd, found.n, min(theirs), max(theirs)
    known = None if math.isnan(sd) else sd
    difference = difference_to_published(values, mean, known, n)
    outcome = band_verdict(values, low, high)
    gap = summarize(values).mean - mean
    row = (
        TableEntry(cell.row),
        TableEntry(cell.column),
        entry(cell, -1),
        TableEntry(f"{mean:.2f}" + ("" if known is None else f" ± {sd:.2f}")),
        TableEntry("unknown" if math.isnan(low) else f"{low:.2f} to {high:.2f}"),
        TableEntry(_gap(gap, difference) if values else "–"),
        TableEntry(outcome, style=outcome),
    )
    ours = record(cell)
    return row, {
        **{key: ours[key] for key in (*COMPARED, "variant", "low95", "high95")},
        "published_mean": mean,
        "published_sd": known,
        "published_n": n,
        "published_low": low,
        "published_high": high,
        "difference": gap,
        "difference_low90": None if difference is None else difference.low,
        "difference_high90": None if difference is None else difference.high,
        "verdict": outcome,
    }


def _gap(gap: float, difference: Difference | None) -> str:
    if difference is None:
        return signed(gap)
    return f"{signed(gap)} [{signed(difference.low)}, {signed(difference.high)}]"


def _why_no_interval(n: int, sd: float | None) -> str:
    if not n:
        return "no finished run"
    return "the paper prints no deviation" if sd is None else f"n = {n}"
