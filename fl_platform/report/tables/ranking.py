"""The lowest attack on each defense and the best defense against each attack, with tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_platform.report.cells import Cell
from fl_platform.report.labels import REFERENCES
from fl_platform.report.statistics import Claim, claims
from fl_platform.report.tables.base import Entry, Table, only_setting, signed


def column_claims(found: Sequence[Cell]) -> dict[str, Claim]:
    """Which attack is the lowest against each defense of one setting; references stand aside.

    Nothing can be called lower than an attack that made runs diverge.
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
    """Which defense is the best against each attack of one setting; references stand aside.

    A defense under which a run diverged is never the best, and no rival either.
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
    """For each defense the lowest attack, its nearest rival, and their paired difference."""
    setting = only_setting(found)
    rows, records = _listed(column_claims(found), "defense", "lowest")
    return Table(
        name="lowest",
        setting=setting,
        title=f"Which attack is the lowest: {setting.title()}",
        header=("Defense", "Lowest", *_HEADER),
        rows=rows,
        notes=(_note("attacks", "lowest", "defenses") + " No claim beside a diverged attack.",),
        records=records,
    )


def best_table(found: Sequence[Cell]) -> Table:
    """For each attack the best defense, its nearest rival, and their paired difference."""
    setting = only_setting(found)
    rows, records = _listed(row_claims(found), "attack", "best")
    return Table(
        name="best",
        setting=setting,
        title=f"Which defense is the best: {setting.title()}",
        header=("Attack", "Best", *_HEADER),
        rows=rows,
        notes=(
            _note("defenses", "best", "attacks")
            + " A defense under which a run diverged is neither the best nor a rival.",
        ),
        records=records,
    )


_HEADER = ("Nearest rival", "Difference [95 %]", "p", "Holm p", "Supported")


def _note(members: str, word: str, groups: str) -> str:
    return (
        f"Nearest rival: the next mean. Difference: {word} minus that rival, paired t interval"
        f" over the seeds that both {members} share; none under 3 shared seeds. p: the largest"
        f" paired p value over all rivals, with the rival that gives it where it is another one."
        f" Holm's correction runs over the {groups} of this table."
    )


def _listed(
    made: Mapping[str, Claim], group: str, word: str
) -> tuple[tuple[tuple[Entry, ...], ...], tuple[dict[str, object], ...]]:
    body: list[tuple[Entry, ...]] = []
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
        tone = "agrees" if claim.supported else ""
        body.append((*(Entry(text) for text in line), Entry(yes, tone=tone)))
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
