"""Learning-rate schedules over the rounds: factors that are pure functions of the round.

The rate of round t is the configured rate times the factor of t, for any t in any order. A
resumed run needs no state of a schedule.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise


def _expect(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {got!r}.")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A constant factor of 1, with the linear warm-up of every schedule.

    .. math:: f(t) = \\min(1, (t + 1) / w) \\cdot g(t), \\quad g(t) = 1

    Attributes:
        warmup: w, rounds until the full rate; 0 for none.

    >>> from fl_platform.core.schedules import Schedule
    >>> [Schedule(warmup=4)(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    warmup: int = 0

    def __post_init__(self) -> None:
        _expect(self.warmup >= 0, "warmup", "a number of rounds >= 0", self.warmup)

    def __call__(self, round_index: int) -> float:
        """The factor of round t, counted from 0."""
        _expect(round_index >= 0, "round_index", "a round >= 0", round_index)
        ramp = min(1.0, (round_index + 1) / self.warmup) if self.warmup else 1.0
        return ramp * self._factor(round_index)

    def _factor(self, t: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Milestones(Schedule):
    """A drop by ``factor`` at each milestone.

    .. math:: g(t) = \\gamma^{|\\{m : m \\le t\\}|}

    Attributes:
        at: the milestones m, rounds in ascending order.
        factor: gamma, above 0.

    >>> from fl_platform.core.schedules import Milestones
    >>> [Milestones(at=[2, 3], factor=0.5)(t) for t in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    at: list[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = all(a < b for a, b in pairwise(self.at))
        positive = bool(self.at) and self.at[0] >= 1
        _expect(ascending and positive, "at", "rounds >= 1 in ascending order", self.at)
        _expect(self.factor > 0, "factor", "a number > 0", self.factor)

    def _factor(self, t: int) -> float:
        return self.factor ** bisect.bisect_right(self.at, t)


@dataclass(frozen=True, kw_only=True)
class Inverse(Schedule):
    """The rate divided by the number of periods that have begun.

    .. math:: g(t) = 1 / (1 + \\lfloor t / k \\rfloor), \\quad
        \\text{or } 1 / (1 + t / k) = k / (t + k) \\text{ where not stepped}

    Attributes:
        period: k, rounds.
        stepped: ``True``: the factor changes every k rounds only.

    >>> from fl_platform.core.schedules import Inverse
    >>> [Inverse(period=2)(t) for t in range(4)]
    [1.0, 1.0, 0.5, 0.5]

    References:
        Y. Allouah et al., Fixing by Mixing, AISTATS 2023 (stepped, k = 50); E. M. El Mhamdi et
        al., The Hidden Vulnerability of Distributed Learning in Byzantium, ICML 2018 (not).
    """

    period: int
    stepped: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(self.period >= 1, "period", "a number of rounds >= 1", self.period)

    def _factor(self, t: int) -> float:
        return 1 / (1 + (t // self.period if self.stepped else t / self.period))


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to ``low``, then ``low``.

    .. math:: g(t) = l + (1 - l) (1 + \\cos(\\pi \\min(t, T) / T)) / 2

    Attributes:
        rounds: T, until ``low`` is reached.
        low: l, from 0 to 1.

    >>> from fl_platform.core.schedules import Cosine
    >>> [round(Cosine(rounds=2)(t), 6) for t in range(4)]
    [1.0, 0.5, 0.0, 0.0]

    References:
        I. Loshchilov, F. Hutter, SGDR, ICLR 2017.
    """

    rounds: int
    low: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(self.rounds >= 1, "rounds", "a number of rounds >= 1", self.rounds)
        _expect(0 <= self.low <= 1, "low", "a number from 0 to 1", self.low)

    def _factor(self, t: int) -> float:
        turn = math.cos(math.pi * min(t, self.rounds) / self.rounds)
        return self.low + (1 - self.low) * (1 + turn) / 2


@dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """Straight lines between points; constant before the first and after the last.

    Attributes:
        points: ``[[round, factor], ...]``, rounds in ascending order, factors of at least 0,
            one of them above 0.

    >>> from fl_platform.core.schedules import Piecewise
    >>> [Piecewise(points=[[0, 0.1], [2, 0.3]])(t) for t in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """

    points: list[tuple[int, float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        rounds = [t for t, _ in self.points]
        ascending = all(a < b for a, b in pairwise(rounds))
        expected = "[round, factor] with rounds >= 0 in ascending order and factors >= 0, not all 0"
        factors = [factor for _, factor in self.points]
        fine = bool(rounds) and ascending and rounds[0] >= 0
        fine = fine and min(factors) >= 0 and max(factors) > 0
        _expect(fine, "points", expected, self.points)

    def _factor(self, t: int) -> float:
        rounds = [at for at, _ in self.points]
        after = bisect.bisect_right(rounds, t)
        if after == 0 or after == len(rounds):
            return float(self.points[min(after, len(rounds) - 1)][1])
        (t0, f0), (t1, f1) = self.points[after - 1 : after + 1]
        return f0 + (f1 - f0) * (t - t0) / (t1 - t0)


KINDS: dict[str, type[Schedule]] = {
    "constant": Schedule,
    "milestones": Milestones,
    "inverse": Inverse,
    "cosine": Cosine,
    "piecewise": Piecewise,
}
