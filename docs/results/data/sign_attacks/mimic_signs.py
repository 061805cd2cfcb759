"""Colluders with the sign shares of honest rows and the direction of their choice."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Updates
from fl_platform.core.constraints import AtLeast, Between
from fl_platform.core.rule import rule
from fl_platform.defenses.sign_guard import largest_cluster, sign_features

Direction = Literal["reverse", "drift", "forward", "undo", "shrink", "starve"]
SMALL = 1e-6  # length of an entry that is there for its sign only


@rule(label="mimic signs", shardable="sorts the entries of a direction over all coordinates")
class MimicSigns:
    r"""Equal Byzantine rows along v whose smallest entries are set so that sign shares are as said.

    SignGuard reads the lengths and the shares of positive, zero and negative signs. Entries of
    updates differ by orders of magnitude, so that a row reaches any shares by zeros and changed
    signs among its smallest entries and loses little of its inner product with v.

    Args:
        seed: of the run; unused.
        direction: v, as the direction of the update (the server subtracts it), from the honest
            rows clipped to their median length, with mean m: ``reverse`` -m; ``drift`` minus the
            exponential mean of m over the rounds; ``forward`` w_{t-1} - w_t, which continues the
            last step; ``undo`` w_t - w_0; ``shrink`` w_t; ``starve`` minus the mean of the fifth
            of the honest rows that push class ``index`` most.
        place: shares of the colluders. ``own``: those of v, without change; ``center``: of the
            honest row nearest to the mean of the honest rows that the rule keeps without
            colluders; ``shift``: ``offset`` standard deviations from the mean of all honest rows
            along the first main direction of their shares.
        offset: of ``shift``.
        length: of the rows, in median honest lengths. The rule clips it to the median of all
            rows, which long rows raise; 3 is refused by default.
        decay: share of the exponential mean that is kept per round.
        index: class.
        begin: first round of the attack.
        period: 0: every round; else on for ``period`` rounds, off for as many.

    In rounds without attack the rows are those of the first f honest clients. Source: ours.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        direction: Direction = "reverse",
        place: Literal["own", "center", "shift"] = "center",
        offset: float = 0.0,
        length: Annotated[float, AtLeast(0)] = 2.5,
        decay: Annotated[float, Between(0, 1)] = 0.8,
        index: Annotated[int, AtLeast(0)] = 0,
        begin: Annotated[int, AtLeast(0)] = 0,
        period: Annotated[int, AtLeast(0)] = 0,
    ) -> None:
        self.seed, self.direction, self.place, self.offset = seed, direction, place, offset
        self.length, self.decay, self.index = length, decay, index
        self.begin, self.period = begin, period
        self.first: Tensor | None = None
        self.last: Tensor | None = None
        self.slow: Tensor | None = None

    def __call__(
        self,
        honest: Updates,
        num_byzantine: int,
        model: Tensor | None = None,
        round: int | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor:
        """``(f, d)`` rows of this round."""
        assert model is not None
        assert layers is not None
        rows = honest.matrix
        lengths = rows.norm(dim=1)
        usual = lengths.median()
        clipped = rows * (usual / lengths.clamp_min(1e-12)).clamp_max(1)[:, None]
        mean = clipped.mean(0)
        self.slow = mean if self.slow is None else self.decay * self.slow + mean
        self.first = model.clone() if self.first is None else self.first
        last, self.last = self.last, model.clone()
        since = (round or 0) - self.begin
        if since < 0 or (self.period and (since // self.period) % 2):
            return rows[torch.arange(num_byzantine) % len(rows)]
        v = self._along(clipped, mean, last, layers)
        row = v if self.place == "own" else with_shares(v, *self._shares(rows))
        row = self.length * usual * row / row.norm().clamp_min(1e-12)
        return row.expand(num_byzantine, -1).clone()

    def _along(
        self, clipped: Tensor, mean: Tensor, last: Tensor | None, layers: tuple[int, ...]
    ) -> Tensor:
        assert self.first is not None
        assert self.last is not None
        assert self.slow is not None
        now, word = self.last, self.direction
        vector = -mean
        if word == "drift":
            vector = -self.slow
        elif word == "forward" and last is not None:
            vector = last - now
        elif word == "undo" and bool((now != self.first).any()):
            vector = now - self.first
        elif word == "shrink":
            vector = now
        elif word == "starve":  # g = w - w_i: a client with the class raises its bias, g < 0
            place = clipped.shape[1] - layers[-1] + self.index % layers[-1]
            vector = -clipped[(-clipped[:, place]).topk(max(1, len(clipped) // 5)).indices].mean(0)
        return vector / vector.norm().clamp_min(1e-12)

    def _shares(self, rows: Tensor) -> tuple[float, float]:
        """Shares of positive and of negative signs of the colluders."""
        points = sign_shares(rows)
        if self.place == "shift":
            middle = points.mean(0)
            _, scales, axes = torch.linalg.svd(points - middle, full_matrices=False)
            return _valid(middle + self.offset * float(scales[0]) / len(rows) ** 0.5 * axes[0])
        usual = points[largest_cluster(sign_features(rows))].mean(0)
        return _valid(points[(points - usual).norm(dim=1).argmin()])

    def state_dict(self) -> dict[str, Any]:
        """What is kept between rounds."""
        return {word: getattr(self, word) for word in _KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        for word in _KEPT:
            setattr(self, word, state[word])


_KEPT = ("first", "last", "slow")


def sign_shares(rows: Tensor) -> Tensor:
    """``(n, 2)`` shares of positive and of negative entries."""
    return torch.stack([(rows > 0).double().mean(1), (rows < 0).double().mean(1)], 1)


def _valid(shares: Tensor) -> tuple[float, float]:
    positive, negative = (max(0.0, float(share)) for share in shares)
    total = max(1.0, positive + negative)
    return positive / total, negative / total


def with_shares(v: Tensor, positive: float, negative: float) -> Tensor:
    """v with these shares of signs: its smallest entries are zeros or have another sign."""
    d, row = len(v), v.clone()
    order = v.abs().argsort()
    above, below = round(positive * d), round(negative * d)
    row[order[: max(0, d - above - below)]] = 0
    small = SMALL * float(v.norm())
    for sign, wanted in ((1, above), (-1, below)):
        have = order[(sign * row[order]) > 0]
        row[have[: max(0, len(have) - wanted)]] = -sign * small
    for sign, wanted in ((1, above), (-1, below)):  # where v has more zeros than are wanted
        empty = order[row[order] == 0]
        row[empty[: max(0, wanted - int((sign * row > 0).sum()))]] = sign * small
    return row
