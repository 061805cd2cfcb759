"""Which attack is the lowest against a defense, and whether the seeds support saying so."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from fl_platform.report.statistics import FEWEST_SEEDS, Difference, holm, paired_difference

Accuracies = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Claim:
    """That ``attack`` has the lowest mean of its column, beside its nearest rival.

    ``difference`` is attack minus the rival with the largest paired p value; ``p`` is that value
    and ``adjusted`` Holm's over the table. ``reason`` says why the claim is not supported;
    ``unranked`` are the attacks without a mean that could be ranked.
    """

    attack: str
    rival: str
    difference: Difference | None
    p: float
    adjusted: float
    supported: bool
    reason: str
    unranked: tuple[str, ...] = ()


def claims(
    columns: Mapping[str, Accuracies],
    unranked: Mapping[str, Collection[str]] | None = None,
    alpha: float = 0.05,
) -> dict[str, Claim]:
    """For each column (a defense) the attack of lowest mean, tested against all others.

    A column's claim is false as soon as one other attack is as low, so its p value is the
    largest of the paired two-sided ones (an intersection-union test; two-sided, since the lowest
    was picked by looking: S. Gutmann and Z. Maymin, "Is the selected population the best?",
    1987). Holm's procedure runs over the columns of the table.

    Args:
        columns: Column -> attack -> seed -> accuracy, finished runs only.
        unranked: Column -> attacks with a diverged run or without any finished one: nothing can
            be called lower than these, so such a column's claim is not supported.
        alpha: Chance allowed of any false claim in the table.
    """
    found: dict[str, Claim] = {}
    for column, attacks in columns.items():
        ranked = {name: runs for name, runs in attacks.items() if runs}
        if ranked:
            found[column] = _claim(ranked, sorted((unranked or {}).get(column, ())))
    testable = [column for column, claim in found.items() if claim.difference is not None]
    adjusted = holm([found[column].p for column in testable])
    for column, p in zip(testable, adjusted, strict=True):
        claim = found[column]
        lower = claim.difference is not None and claim.difference.mean < 0
        supported = not claim.reason and lower and p <= alpha
        reason = claim.reason or ("" if supported else f"Holm p = {p:.3g}")
        found[column] = replace(claim, adjusted=p, supported=supported, reason=reason)
    return found


def _claim(ranked: Accuracies, unranked: list[str]) -> Claim:
    nan = float("nan")
    means = {name: sum(runs.values()) / len(runs) for name, runs in ranked.items()}
    lowest = min(means, key=lambda name: means[name])
    apart = tuple(unranked)
    others = [name for name in ranked if name != lowest]
    if not others:
        return Claim(lowest, "", None, nan, nan, False, "only one attack", apart)
    pairs = {name: paired_difference(ranked[lowest], ranked[name]) for name in others}
    missing = [name for name, difference in pairs.items() if difference is None]
    if missing:
        reason = f"fewer than {FEWEST_SEEDS} shared seeds"
        return Claim(lowest, missing[0], None, nan, nan, False, reason, apart)
    tested = {name: difference for name, difference in pairs.items() if difference is not None}
    # A rival with the better mean on the shared seeds contradicts the claim outright.
    rival = max(tested, key=lambda name: (tested[name].mean >= 0, tested[name].p))
    difference = tested[rival]
    p = 1.0 if difference.mean >= 0 else difference.p
    reason = f"not ranked: {', '.join(unranked)}" if unranked else ""
    return Claim(lowest, rival, difference, p, nan, False, reason, apart)
