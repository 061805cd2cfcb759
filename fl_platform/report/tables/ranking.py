"""Strongest attack per defense, with its significance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_platform.report.cells import Cell
from fl_platform.report.labels import REFERENCES
from fl_platform.report.statistics import Claim, claims
from fl_platform.report.tables.table import Table, TableEntry, only_setting, signed


def column_claims(found: Sequence[Cell]) -> dict[str, Claim]:
    """Attack of lowest accuracy per defense of one setting; reference rows are not ranked."""
    values: dict[str, dict[str, Mapping[int, float]]] = {}
    unranked: dict[str, list[str]] = {}
    for cell in found:
        if cell.attack in REFERENCES:
            continue
        values.setdefault(cell.column, {})[cell.row] = cell.values
        if cell.diverged or not cell.values:
            unranked.setdefault(cell.column, []).append(cell.row)
    return claims(values, unranked)


def claims_table(found: Sequence[Cell]) -> Table:
    """Strongest attack per defense, its closest competitor, and their paired difference."""
    setting = only_setting(found)
    body, records = [], []
    for column, claim in column_claims(found).items():
        d = claim.difference
        interval = (
            "unknown" if d is None else f"{signed(d.mean)} [{signed(d.low)}, {signed(d.high)}]"
        )
        yes = "yes" if claim.supported else f"no: {claim.reason}"
        ps = (_p(claim.p), _p(claim.adjusted))
        line = (column, claim.attack, claim.rival or "–", interval, *ps)
        style = "agrees" if claim.supported else ""
        body.append((*(TableEntry(text) for text in line), TableEntry(yes, style=style)))
        records.append(
            {
                "defense": column,
                "lowest": claim.attack,
                "rival": claim.rival,
                "n": None if d is None else d.n,
                "difference": None if d is None else d.mean,
                "low": None if d is None else d.low,
                "high": None if d is None else d.high,
                "p": claim.p,
                "p_holm": claim.adjusted,
                "supported": claim.supported,
                "reason": claim.reason,
            }
        )
    return Table(
        name=f"lowest-{setting.slug()}",
        title=f"Strongest attack per defense: {setting.title()}",
        header=(
            "Defense",
            "Strongest attack",
            "Closest competitor (by p)",
            "Difference [95 %]",
            "p",
            "Holm p",
            "Significant",
        ),
        rows=tuple(body),
        notes=(
            "Closest competitor: the attack with the largest p value. Difference: paired t interval"
            " over shared seeds, strongest minus competitor. Holm p: corrected for the defenses of"
            " this table. No interval with fewer than 3 shared seeds; no claim if another attack"
            " diverged.",
        ),
        records=tuple(records),
    )


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
