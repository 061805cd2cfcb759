"""The result of an arena: rows with intervals, and the worst case."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from fl_platform.report.formats import csv_text
from fl_platform.report.statistics import summarize
from fl_platform.study.arena.search import (
    NONE,
    Attack,
    Done,
    Stages,
    Trial,
    Verdict,
    judge,
    rounds_to,
)


@dataclass(frozen=True)
class Row:
    """One attacker against the defense; accuracies in percent, means over the final seeds.

    Attributes:
        attack: overrides.
        validation: mean at the end on the validation seeds; NaN for no attack.
        end, low, high: test accuracy at the end with its 95 % t interval.
        share: ``end`` as a share of the reference's.
        later: test accuracy at the end of the long horizon.
        reached: median first round with the level of ``final.reached``; ``None``: not in half of
            the runs.
        diverged: how many of the runs did.
        verdict: none, delays or damages.
        per_seed: test accuracies at the end.
    """

    attack: str
    validation: float
    end: float
    low: float
    high: float
    share: float
    later: float
    reached: float | None
    diverged: int
    verdict: Verdict
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class Standing:
    """An arena's result.

    Attributes:
        defense: overrides that make the defense.
        reference: test accuracy of the plain mean without attack, at the end.
        rows: no attack first, then the attackers, the lowest test accuracy first.
        tried: attackers that were run on validation data.
        keep: the share of the reference that a defense should keep.
        goal: the share of the reference until which rounds are counted.
    """

    defense: str
    reference: float
    rows: tuple[Row, ...]
    tried: int
    keep: float
    goal: float

    @property
    def worst(self) -> Row:
        """The attacker with the lowest mean on the test set."""
        return self.rows[1]

    def line(self) -> str:
        """The worst case in one line."""
        row = self.worst
        held = "holds" if row.verdict == "none" else row.verdict
        return (
            f"worst case of {self.tried} attackers: {row.end:.1f} % [{row.low:.1f}, {row.high:.1f}]"
            f", {100 * row.share:.1f} % of {self.reference:.1f} % ({held}): {row.attack}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; NaN is null."""
        told = asdict(self)
        for row in told["rows"]:
            for key, value in row.items():
                if isinstance(value, float) and not math.isfinite(value):
                    row[key] = None
        return told


def standing(plan: Stages, done: Done, defense: str) -> Standing:
    """The result of a complete arena."""
    seeds, final = plan.spec.final.seeds, plan.spec.final
    finals = plan.finals(())
    reference = [plan.end(done[t], plan.rounds) for t in finals if t.reference]
    mean = math.fsum(reference) / len(reference)
    attacks: list[Attack] = [NONE, *plan.worst(done)]
    rows = [_row(plan, done, attack, seeds, mean) for attack in attacks]
    ordered = (rows[0], *sorted(rows[1:], key=lambda row: row.end))
    tried = len({t.attack for t in done if t.on == "validation"})
    return Standing(defense, mean, ordered, tried, final.keep, final.reached)


def _row(plan: Stages, done: Done, attack: Attack, seeds: Sequence[int], reference: float) -> Row:
    final, long = plan.spec.final, plan.rounds * plan.spec.final.horizon
    played = [done[Trial(attack, seed, "test", long)] for seed in seeds]
    ends = [plan.end(each, plan.rounds) for each in played]
    later = math.fsum(plan.end(each, long) for each in played) / len(played)
    found = summarize(ends)
    firsts = [rounds_to(each.curve, final.reached * reference) for each in played]
    median = statistics.median(math.inf if first is None else first for first in firsts)
    return Row(
        attack=" ".join(attack),
        validation=plan.validation(done, attack),
        end=found.mean,
        low=found.low,
        high=found.high,
        share=found.mean / reference if reference else math.nan,
        later=later,
        reached=None if math.isinf(median) else median,
        diverged=sum(bool(each.reason) for each in played),
        verdict=judge(found.mean, later, final.keep * reference),
        per_seed=tuple(ends),
    )


def table(result: Standing) -> str:
    """The rows as text, one attacker a line."""
    until = f"to {100 * result.goal:g} %"
    head = ("attack", "validation", "test", "95 % interval", "of reference", "later", until, "")
    lines = [head]
    for row in result.rows:
        lines.append(
            (
                row.attack.replace("attack=", "").replace("attack.", ""),
                "-" if math.isnan(row.validation) else f"{row.validation:.1f}",
                f"{row.end:.1f}",
                f"[{row.low:.1f}, {row.high:.1f}]",
                f"{100 * row.share:.1f} %",
                f"{row.later:.1f}",
                "never" if row.reached is None else f"{row.reached:g}",
                row.verdict + (f", {row.diverged} diverged" if row.diverged else ""),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = []
    for first, *numbers, last in lines:
        right = [text.rjust(width) for text, width in zip(numbers, widths[1:-1], strict=True)]
        padded.append([first.ljust(widths[0]), *right, last])
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def as_csv(results: Sequence[Standing]) -> str:
    """All rows of several arenas, one a line."""
    names = [field.name for field in fields(Row) if field.name != "per_seed"]
    return csv_text(
        {"defense": result.defense, "reference": result.reference}
        | {name: getattr(row, name) for name in names}
        for result in results
        for row in result.rows
    )
