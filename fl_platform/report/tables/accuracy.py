"""Accuracy tables: attacks × defenses, as in the paper's Tables 1 and 2; worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fl_platform.report.cells import Cell, by_setting, differing_titles, settings_note
from fl_platform.report.labels import REFERENCES
from fl_platform.report.statistics import Claim
from fl_platform.report.tables.ranking import column_claims, row_claims
from fl_platform.report.tables.table import (
    Table,
    TableEntry,
    axes,
    entry,
    only_setting,
    record,
    usual_n,
)


def accuracy_table(found: Sequence[Cell], accuracy: str = "tail") -> Table:
    """Accuracy of attacks × defenses in one setting: mean ± deviation, reference rows first.

    An entry is bold if its attack is significantly the lowest of the column, and underlined if
    its defense is significantly the best of the row. Diverged and failed runs are counted beside
    the mean and do not enter it.

    Raises:
        ValueError: The cells belong to several settings.
    """
    setting = only_setting(found)
    rows, columns = axes(found)
    lowest, best = column_claims(found), row_claims(found)
    usual = usual_n(found)
    at = {(cell.row, cell.column): cell for cell in found}
    body = []
    for row in rows:
        line = [TableEntry(row)]
        for column in columns:
            cell = at.get((row, column))
            shown = TableEntry("–") if cell is None else entry(cell, usual)
            bold = _claimed(lowest.get(column), row)
            line.append(replace(shown, bold=bold, underlined=_claimed(best.get(row), column)))
        body.append(tuple(line))
    references = len({cell.row for cell in found if cell.attack in REFERENCES})
    return Table(
        name="accuracy",
        setting=setting,
        title=f"Accuracy under attack: {setting.title()}",
        header=("Attack", *columns),
        rows=tuple(body),
        notes=(
            *alarm_notes(found),
            *_accuracy_notes(usual, accuracy),
            _marks_note("Bold", "attack", "lowest of its column", lowest),
            _marks_note("Underlined", "defense", "best of its row", best),
            *filter(None, [settings_note(found)]),
        ),
        records=tuple(record(cell) for cell in found),
        rule_after=references if references < len(rows) else 0,
    )


def _claimed(claim: Claim | None, name: str) -> bool:
    return claim is not None and claim.supported and claim.best == name


def _marks_note(mark: str, member: str, what: str, made: Mapping[str, Claim]) -> str:
    if any(claim.supported for claim in made.values()):
        return f"{mark}: significantly the {what} (paired t tests over seeds, Holm over the table)."
    return f"No {member} is significantly the {what}, so nothing is {mark.lower()}."


def alarm_notes(found: Sequence[Cell]) -> tuple[str, ...]:
    """One sentence about runs whose repeated rounds gave other values; they may be wrong."""
    runs = [run for cell in found for run in cell.runs if float(run.get("alarms") or 0) > 0]
    if not runs:
        return ()
    names = sorted({str(run.get("name") or run.get("run_id")) for run in runs})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"ALARM: {len(runs)} of these runs gave other values in repeated rounds"
        f" ({', '.join(names[:3])}{more}); restart them with --restart.",
    )


def _accuracy_notes(usual: int, accuracy: str) -> tuple[str, ...]:
    kind = {
        "tail": "mean accuracy of the last evaluations of a run",
        "last": "accuracy after the last round",
        "best": "best accuracy of a run (selected on the test set)",
    }[accuracy]
    seeds = (
        f"n = {usual} seeds per cell unless stated otherwise; ±: sample standard deviation."
        if usual > 1
        else "n = 1 seed per cell unless stated otherwise, so no deviation and no interval."
    )
    return (f"Test accuracy in percent: {kind}.", seeds)


def worst_case_table(found: Sequence[Cell]) -> Table:
    """Lowest mean accuracy over all attacks per defense and setting, with that attack."""
    settings = by_setting(cell for cell in found if cell.attack not in REFERENCES)
    columns = list(dict.fromkeys(cell.column for group in settings.values() for cell in group))
    body, records = [], []
    for column in columns:
        line = [TableEntry(column)]
        for setting, group in settings.items():
            here = [cell for cell in group if cell.column == column]
            diverged = [cell for cell in here if cell.diverged]
            ranked = [cell for cell in here if cell.values]
            worst = min(ranked, key=lambda cell: cell.summary().mean, default=None)
            text = "–" if worst is None else f"{entry(worst, -1).text} {worst.row}"
            also = [cell.row for cell in diverged if cell is not worst]
            if also:
                text += f"; diverged under {', '.join(also)}"
            line.append(TableEntry(text, style="diverged" if diverged else ""))
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
            "The attack is selected by the same means, so the worst case is biased low; the bias"
            " shrinks with more seeds.",
            *filter(None, [settings_note(found)]),
        ),
        records=tuple(records),
    )
