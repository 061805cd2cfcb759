"""From numbers to what they support: intervals over seeds, paired differences, verdicts.

Accuracies are percentages, one a seed. Nothing here knows tables or runs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

FEWEST_SEEDS = 3
MARGIN = 5.0

Verdict = Literal["agrees", "differs", "cannot tell"]


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and interval of n values; NaN where n is too small."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval and two-sided p value; n is the number of seeds."""

    n: int
    mean: float
    low: float
    high: float
    p: float


def summarize(values: Sequence[float], level: float = 0.95) -> Summary:
    r"""Mean, standard deviation (n - 1) and t interval of the values of n seeds.

    .. math:: \bar x \pm t_{n-1,\,(1+\text{level})/2} \; s / \sqrt n

    Args:
        values: One finite number a seed.
        level: Coverage of the interval, between 0 and 1.

    Returns:
        All NaN for no value; no deviation and no interval (NaN) for a single one.

    Raises:
        ValueError: a value is not finite; such runs are counted apart, never averaged.
    """
    x = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError(
            f"Expected finite values, got {x.tolist()}; count diverged and failed runs apart."
        )
    n = len(x)
    if n == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan)
    mean = float(x.mean())
    if n == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    sd = float(x.std(ddof=1))
    half = _quantile(level, n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], level: float = 0.95
) -> Difference | None:
    """Paired t interval of ``first - second`` over the seeds that both have.

    Runs of equal seed share partition, participants and initial weights, so their difference
    varies less than either. None where fewer than three seeds are shared.

    Args:
        first: Accuracy by seed.
        second: Accuracy by seed.
        level: Coverage of the interval.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < FEWEST_SEEDS:
        return None
    d = summarize([first[seed] - second[seed] for seed in shared], level)
    return Difference(d.n, d.mean, d.low, d.high, _p_value(d.mean, d.sd / math.sqrt(d.n), d.n - 1))


def difference_to_published(
    values: Sequence[float],
    mean: float,
    sd: float | None,
    n: int | None,
    level: float = 0.90,
) -> Difference | None:
    """Welch interval of our mean minus a printed mean (B. L. Welch, 1947).

    Args:
        values: Our accuracies, one a seed.
        mean: The printed mean.
        sd: The printed ±, read as a sample standard deviation; None where there is none.
        n: The number of seeds assumed behind it.
        level: Coverage of the interval; 0.90 makes the verdict two one-sided tests at 5 %.

    Returns:
        None with fewer than three seeds of ours, or where the paper prints no deviation.
    """
    ours = summarize(values)
    if ours.n < FEWEST_SEEDS or sd is None or n is None:
        return None
    a, b = ours.sd**2 / ours.n, sd**2 / n
    error = math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (n - 1)) if error else math.inf
    half = _quantile(level, freedom) * error
    d = ours.mean - mean
    return Difference(ours.n, d, d - half, d + half, _p_value(d, error, freedom))


def verdict(difference: Difference | None, margin: float = MARGIN) -> Verdict:
    """Whether an interval of ours minus published says *agrees*, *differs* or neither.

    *agrees*: it lies within ±margin (equivalence by two one-sided tests, D. J. Schuirmann,
    1987). *differs*: it excludes 0 and reaches beyond ±margin. Else, or without an interval,
    *cannot tell*.
    """
    if difference is None:
        return "cannot tell"
    if -margin <= difference.low and difference.high <= margin:
        return "agrees"
    if difference.low > 0 or difference.high < 0:
        return "differs"
    return "cannot tell"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given (S. Holm, "A simple sequentially rejective …", 1979).

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection
    among all of them at alpha, whatever their dependence.
    """
    m = len(p_values)
    adjusted = [0.0] * m
    largest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _quantile(level: float, freedom: float) -> float:
    from scipy import special  # lazily: a tenth of the import time of scipy.stats

    if not 0 < level < 1:
        raise ValueError(f"Expected a level between 0 and 1, got {level}.")
    upper = (1 + level) / 2
    return float(special.ndtri(upper) if math.isinf(freedom) else special.stdtrit(freedom, upper))


def _p_value(mean: float, error: float, freedom: float) -> float:
    from scipy import special

    if error == 0:  # equal differences on every seed: exact ties say nothing, all else is certain
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(freedom, -abs(mean) / error))


Accuracies = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Claim:
    """That ``best`` is the lowest (or the highest) mean of a group, beside its nearest rival.

    ``difference`` is that mean minus the nearest rival's, over shared seeds. ``p`` is the largest
    paired p value over all rivals, that of ``weakest``; ``adjusted`` is Holm's over the table.
    ``reason`` says why the claim is not supported; ``unranked`` are those without a mean that
    could be ranked.
    """

    best: str
    rival: str
    difference: Difference | None
    p: float
    adjusted: float
    supported: bool
    reason: str
    unranked: tuple[str, ...] = ()
    weakest: str = ""


def claims(
    groups: Mapping[str, Accuracies],
    unranked: Mapping[str, Collection[str]] | None = None,
    alpha: float = 0.05,
    highest: bool = False,
) -> dict[str, Claim]:
    """For each group the member of lowest (or highest) mean, tested against all others.

    A group's claim is false as soon as one other member is as low, so its p value is the largest
    of the paired two-sided ones (an intersection-union test; two-sided, since the lowest was
    picked by looking: S. Gutmann and Z. Maymin, "Is the selected population the best?", 1987).
    Holm's procedure runs over the groups of the table.

    Args:
        groups: Group -> member -> seed -> accuracy, finished runs only: the attacks on a defense,
            or the defenses against an attack.
        unranked: Group -> members about which too little is known to call another one lower (or
            higher): the claim of such a group is not supported.
        alpha: Chance allowed of any false claim in the table.
        highest: Whether the highest mean is claimed.
    """
    found: dict[str, Claim] = {}
    for group, members in groups.items():
        ranked = {name: runs for name, runs in members.items() if runs}
        if ranked:
            found[group] = _claim(ranked, sorted((unranked or {}).get(group, ())), highest)
    testable = [group for group, claim in found.items() if claim.difference is not None]
    adjusted = holm([found[group].p for group in testable])
    for group, p in zip(testable, adjusted, strict=True):
        claim = found[group]
        supported = not claim.reason and p <= alpha
        reason = claim.reason or ("" if supported else f"Holm p = {p:.3g}")
        found[group] = replace(claim, adjusted=p, supported=supported, reason=reason)
    return found


def _claim(ranked: Accuracies, unranked: list[str], highest: bool) -> Claim:
    nan, sign = float("nan"), -1 if highest else 1
    means = {name: sign * sum(runs.values()) / len(runs) for name, runs in ranked.items()}
    best, *others = sorted(means, key=lambda name: means[name])
    apart = tuple(unranked)
    if not others:
        return Claim(best, "", None, nan, nan, False, "nothing to compare with", apart)
    pairs = {name: paired_difference(ranked[best], ranked[name]) for name in others}
    if any(difference is None for difference in pairs.values()):
        reason = f"fewer than {FEWEST_SEEDS} shared seeds"
        return Claim(best, others[0], None, nan, nan, False, reason, apart)
    # A rival that is ahead on the shared seeds contradicts the claim outright.
    p = {
        name: difference.p if sign * difference.mean < 0 else 1.0
        for name, difference in pairs.items()
        if difference is not None
    }
    weakest = max(p, key=lambda name: p[name])
    reason = f"not ranked: {', '.join(unranked)}" if unranked else ""
    return Claim(best, others[0], pairs[others[0]], p[weakest], nan, False, reason, apart, weakest)
