"""What each defense is worth when its worst attack is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from fl_platform.report.cells import Cell, by_setting, differing_titles
from fl_platform.report.labels import REFERENCES
from fl_platform.report.tables.base import Entry, Table
from fl_platform.report.tables.entries import entry


def worst_case_table(found: Sequence[Cell]) -> Table:
    """Per defense and setting the lowest mean accuracy over all attacks, and which attack it is."""
    settings = by_setting(cell for cell in found if cell.attack not in REFERENCES)
    columns = list(dict.fromkeys(cell.column for group in settings.values() for cell in group))
    body, records = [], []
    for column in columns:
        line = [Entry(column)]
        for setting, group in settings.items():
            here = [cell for cell in group if cell.column == column]
            diverged = [cell for cell in here if cell.diverged]
            ranked = [cell for cell in here if cell.values]
            worst = min(ranked, key=lambda cell: cell.summary().mean, default=None)
            text = "–" if worst is None else f"{entry(worst, -1).text} {worst.row}"
            also = [cell.row for cell in diverged if cell is not worst]
            if also:
                text += f"; div under {', '.join(also)}"
            line.append(Entry(text, tone="diverged" if diverged else ""))
            records.append(
                {
                    "setting": setting.title(),
                    "defense": column,
                    "worst_attack": None if worst is None else worst.row,
                    "mean": None if worst is None else worst.summary().mean,
                    "sd": None if worst is None else worst.summary().sd,
                    "n": None if worst is None else worst.summary().n,
                    "attacks": len(here),
                    "diverged_under": "; ".join(cell.row for cell in diverged),
                }
            )
        body.append(tuple(line))
    return Table(
        name="worst-case",
        title="Worst case of each defense",
        header=("Defense", *differing_titles(list(settings))),
        rows=tuple(body),
        notes=(
            "The attack of lowest mean is picked after looking, so the worst case lies a little"
            " too low, the more so the fewer the seeds.",
        ),
        records=tuple(records),
    )
