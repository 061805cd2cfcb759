"""Strongest attack per defense and best defense per attack, with their significance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_platform.report.cells import Cell
from fl_platform.report.labels import REFERENCES
from fl_platform.report.statistics import Claim, claims
from fl_platform.report.tables.table import Table, TableEntry, only_setting, signed


def column_claims(found: Sequence[Cell]) -> dict[str, Claim]:
    """Attack of lowest accuracy per defense of one setting; reference rows are not ranked.

    A defense with a diverged run of another attack has no significant claim.
    """
    values: dict[str, dict[str, Mapping[int, float]]] = {}
    unranked: dict[str, list[str]] = {}
    for cell in found:
        if cell.attack in REFERENCES:
            continue
        values.setdefault(cell.column, {})[cell.row] = cell.values
        if cell.diverged or not cell.values:
            unranked.setdefault(cell.column, []).append(cell.row)
    return claims(values, unranked)


def row_claims(found: Sequence[Cell]) -> dict[str, Claim]:
    """Defense of highest accuracy per attack of one setting; reference rows are not ranked.

    A defense with a diverged run is neither the best nor a competitor.
    """
    values: dict[str, dict[str, Mapping[int, float]]] = {}
    unranked: dict[str, list[str]] = {}
    for cell in found:
        if cell.attack in REFERENCES or cell.diverged:
            continue
        values.setdefault(cell.row, {})[cell.column] = cell.values
        if not cell.values:
            unranked.setdefault(cell.row, []).append(cell.column)
    return claims(values, unranked, highest=True)


def claims_table(found: Sequence[Cell]) -> Table:
    """Strongest attack per defense, its closest competitor, and their paired difference."""
    setting = only_setting(found)
    rows, records = _listed(column_claims(found), "defense", "lowest")
    return Table(
        name="lowest",
        setting=setting,
        title=f"Strongest attack per defense: {setting.title()}",
        header=("Defense", "Strongest attack", *_HEADER),
        rows=rows,
        notes=(_note("attack", "strongest", "defenses") + " No claim if another attack diverged.",),
        records=records,
    )


def best_table(found: Sequence[Cell]) -> Table:
    """Best defense per attack, its closest competitor, and their paired difference."""
    setting = only_setting(found)
    rows, records = _listed(row_claims(found), "attack", "best")
    return Table(
        name="best",
        setting=setting,
        title=f"Best defense per attack: {setting.title()}",
        header=("Attack", "Best defense", *_HEADER),
        rows=rows,
        notes=(
            _note("defense", "best", "attacks")
            + " A defense with a diverged run is neither the best nor a competitor.",
        ),
        records=records,
    )


_HEADER = ("Closest competitor", "Difference [95 %]", "p", "Holm p", "Significant")


def _note(member: str, word: str, groups: str) -> str:
    return (
        f"Closest competitor: the {member} of the next mean. Difference: paired t interval over"
        f" shared seeds, {word} minus competitor. p: the largest paired p value over all"
        f" competitors; a name in brackets is the {member} that gives it, if not the closest."
        f" Holm p: corrected for the {groups} of this table. No interval with fewer than 3 shared"
        " seeds."
    )


def _listed(
    made: Mapping[str, Claim], group: str, word: str
) -> tuple[tuple[tuple[TableEntry, ...], ...], tuple[dict[str, object], ...]]:
    body: list[tuple[TableEntry, ...]] = []
    records: list[dict[str, object]] = []
    for name, claim in made.items():
        d = claim.difference
        interval = (
            "unknown" if d is None else f"{signed(d.mean)} [{signed(d.low)}, {signed(d.high)}]"
        )
        yes = "yes" if claim.supported else f"no: {claim.reason}"
        other = f" ({claim.weakest})" if claim.weakest not in ("", claim.rival) else ""
        ps = (_p(claim.p) + other, _p(claim.adjusted))
        line = (name, claim.best, claim.rival or "–", interval, *ps)
        style = "agrees" if claim.supported else ""
        body.append((*(TableEntry(text) for text in line), TableEntry(yes, style=style)))
        records.append(
            {
                group: name,
                word: claim.best,
                "rival": claim.rival,
                "n": None if d is None else d.n,
                "difference": None if d is None else d.mean,
                "low": None if d is None else d.low,
                "high": None if d is None else d.high,
                "p": claim.p,
                "p_of": claim.weakest,
                "p_holm": claim.adjusted,
                "supported": claim.supported,
                "reason": claim.reason,
            }
        )
    return tuple(body), tuple(records)


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
