"""Which attack is the lowest against each defense, as far as the seeds support it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_platform.report.cells import Cell
from fl_platform.report.labels import REFERENCES
from fl_platform.report.statistics import Claim, claims
from fl_platform.report.tables.base import Entry, Table, only_setting, signed

HEADER = ("Defense", "Lowest", "Nearest rival", "Difference [95 %]")


def column_claims(found: Sequence[Cell]) -> dict[str, Claim]:
    """Which attack is the lowest against each defense of one setting; references stand aside."""
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
    """For each defense the lowest attack, its nearest rival, and their paired difference."""
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
        tone = "agrees" if claim.supported else ""
        body.append((*(Entry(text) for text in line), Entry(yes, tone=tone)))
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
        title=f"Which attack is the lowest: {setting.title()}",
        header=(
            "Defense",
            "Lowest",
            "Nearest rival",
            "Difference [95 %]",
            "p",
            "Holm p",
            "Supported",
        ),
        rows=tuple(body),
        notes=(
            "Paired t interval over the seeds that both attacks share (lowest minus the rival with"
            " the largest p); Holm's correction over the defenses of this table; no interval under"
            " 3 shared seeds, no claim beside a diverged attack.",
        ),
        records=tuple(records),
    )


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
