"""Comparison with the paper: difference, interval and verdict per cell."""

from __future__ import annotations

from collections.abc import Sequence

from fl_platform.report import published as paper
from fl_platform.report.cells import Cell, settings_note, usual_strength
from fl_platform.report.statistics import MARGIN, difference_to_published, verdict
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
    if difference is not None:
        gap_text = f"{signed(gap)} [{signed(difference.low)}, {signed(difference.high)}]"
    else:
        gap_text = signed(gap) if values else "–"
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


def _why_no_interval(n: int, sd: float | None) -> str:
    if not n:
        return "no finished run"
    return "the paper prints no deviation" if sd is None else f"n = {n}"
