"""Intervals over seeds, paired differences, tests and verdicts.

Accuracies are percentages, one per seed. This module depends on no table or run.
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
    """Mean, sample standard deviation and interval of n values; NaN if n is too small."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Mean difference with interval and two-sided p value; n is the number of seeds."""

    n: int
    mean: float
    low: float
    high: float
    p: float


def summarize(values: Sequence[float], level: float = 0.95) -> Summary:
    r"""Mean, standard deviation (n - 1) and t interval of the values of n seeds.

    .. math:: \bar x \pm t_{n-1,\,(1+\text{level})/2} \; s / \sqrt n

    Args:
        values: One finite number per seed.
        level: Coverage of the interval, between 0 and 1.

    Returns:
        All NaN for no value; deviation and interval NaN for a single value.

    Raises:
        ValueError: A value is not finite; such runs are counted separately, never averaged.
    """
    x = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError(
            f"Expected finite values, got {x.tolist()}; count diverged and failed runs separately."
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
    varies less than either. None if fewer than three seeds are shared.

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
    """Welch interval of our mean minus a published mean (B. L. Welch, 1947).

    Args:
        values: Our accuracies, one per seed.
        mean: The published mean.
        sd: The published ±, read as a sample standard deviation; None if there is none.
        n: The assumed number of seeds of the published mean.
        level: Coverage of the interval; 0.90 makes the verdict two one-sided tests at 5 %.

    Returns:
        None if we have fewer than three seeds or the paper prints no deviation.
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
    """Verdict from an interval of ours minus published: *agrees*, *differs* or *cannot tell*.

    *agrees*: the interval lies within ±margin (equivalence by two one-sided tests, D. J.
    Schuirmann, 1987). *differs*: it excludes 0 and reaches beyond ±margin. *cannot tell*:
    otherwise, or without an interval.
    """
    if difference is None:
        return "cannot tell"
    if -margin <= difference.low and difference.high <= margin:
        return "agrees"
    if difference.low > 0 or difference.high < 0:
        return "differs"
    return "cannot tell"


def band_verdict(values: Sequence[float], low: float, high: float, level: float = 0.95) -> Verdict:
    """Verdict on our mean beside the band ``[low, high]`` of published seeds.

    *agrees*: our mean lies in the band widened at both ends by the half width of our own t
    interval. *differs*: outside. *cannot tell*: fewer than three seeds of ours, or no band.
    """
    ours = summarize(values, level)
    if ours.n < FEWEST_SEEDS or math.isnan(low):
        return "cannot tell"
    half = ours.high - ours.mean
    return "agrees" if low - half <= ours.mean <= high + half else "differs"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given (S. Holm, "A simple sequentially rejective …", 1979).

    Rejecting at an adjusted value of at most alpha bounds the probability of any false rejection
    among all hypotheses by alpha, under any dependence.
    """
    m = len(p_values)
    adjusted = [0.0] * m
    largest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _quantile(level: float, freedom: float) -> float:
    from scipy import special  # imports in a tenth of the time of scipy.stats

    if not 0 < level < 1:
        raise ValueError(f"Expected a level between 0 and 1, got {level}.")
    upper = (1 + level) / 2
    return float(special.ndtri(upper) if math.isinf(freedom) else special.stdtrit(freedom, upper))


def _p_value(mean: float, error: float, freedom: float) -> float:
    from scipy import special

    if error == 0:  # the same difference for every seed: no evidence if 0, certain otherwise
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(freedom, -abs(mean) / error))


Accuracies = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Claim:
    """Claim that ``best`` has the lowest (or highest) mean of a group, with the closest competitor.

    ``difference`` is that mean minus that of ``rival``, the next mean, over shared seeds. ``p`` is
    the largest paired p value over all competitors, that of ``weakest``; ``adjusted`` is Holm's
    over the table. ``supported``: significant. ``reason``: why not. ``unranked``: members whose
    mean cannot be ranked.
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
    """Member of lowest (or highest) mean per group, tested against all others.

    A group's claim is false if one other member is as low, so its p value is the largest of the
    paired two-sided ones (an intersection-union test; two-sided, since the lowest is selected
    from the data: S. Gutmann and Z. Maymin, "Is the selected population the best?", 1987). Holm's
    procedure runs over the groups of the table.

    Args:
        groups: Group -> member -> seed -> accuracy, finished runs only: the attacks on a defense,
            or the defenses against an attack.
        unranked: Group -> members with a diverged run or without a finished run. No member ranks
            below (or above) these, so a group with such a member has no significant claim.
        alpha: Allowed probability of any false claim in the table.
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
    # A lower (or higher) mean of another member on the shared seeds contradicts the claim.
    p = {
        name: difference.p if sign * difference.mean < 0 else 1.0
        for name, difference in pairs.items()
        if difference is not None
    }
    weakest = max(p, key=lambda name: p[name])
    reason = f"not ranked: {', '.join(unranked)}" if unranked else ""
    return Claim(best, others[0], pairs[others[0]], p[weakest], nan, False, reason, apart, weakest)
