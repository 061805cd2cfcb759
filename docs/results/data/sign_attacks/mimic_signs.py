"""Colluders with the sign shares of honest rows and the direction of their choice."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Updates
from fl_platform.core.constraints import AtLeast, Between
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.defenses.sign_guard import largest_cluster, sign_features

Direction = Literal["reverse", "drift", "forward", "undo", "shrink", "starve", "greedy"]
OFFSETS = (-2.5, -1.5, -0.75, 0.0, 0.75, 1.5, 2.5)  # of ``place=search``, in deviations
DRAWS = 3
FRACTION = 0.1  # of coordinates that the rule samples
SMALL = 1e-6  # length of an entry that is there for its sign only


@rule(label="mimic signs", shardable="sorts the entries of a direction over all coordinates")
class MimicSigns:
    r"""Equal Byzantine rows along v whose smallest entries are set so that sign shares are as said.

    SignGuard reads the lengths and the shares of positive, zero and negative signs. Entries of
    updates differ by orders of magnitude, so that a row reaches any shares by zeros and changed
    signs among its smallest entries and loses little of its inner product with v.

    Args:
        seed: of the run; the attacker's own draws of coordinates are from stream ``mimic_signs``.
        direction: v, as the direction of the update (the server subtracts it), from the honest
            rows clipped to their median length, with mean m: ``reverse`` -m; ``drift`` minus the
            exponential mean of m over the rounds; ``forward`` w_{t-1} - w_t, which continues the
            last step; ``undo`` w_t - w_0; ``shrink`` w_t; ``starve`` minus the mean of the fifth
            of the honest rows that push class ``index`` most; ``greedy``: each round the one of
            these after which the answer has the least inner product with ``goal``.
        place: shares of the colluders. ``own``: those of v, without change; ``center``: of the
            honest row nearest to the mean of the honest rows that the rule keeps without
            colluders; ``shift``: ``offset`` standard deviations from the mean of all honest rows
            along the first main direction of their shares; ``search``: each round the place of a
            grid along both main directions after which a copy of the rule, averaged over the
            attacker's draws of coordinates, answers farthest from ``goal``: fewer honest
            rows beside the colluders, or those that matter least.
        offset: of ``shift``.
        length: of the rows, in median honest lengths. The rule clips it to the median of all
            rows, which long rows raise; 3 is refused by default.
        decay: share of the exponential mean that is kept per round.
        index: class.
        goal: of ``search`` and ``greedy``: this round's ``mean``, the exponential one
            (``drift``), or the mean of the rows that push class ``index`` (``class``).
        begin: first round of the attack.
        period: 0: every round; else on for ``period`` rounds, off for as many.

    In rounds without attack the rows are those of the first f honest clients. Source: ours.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        direction: Direction = "reverse",
        place: Literal["own", "center", "shift", "search"] = "center",
        offset: float = 0.0,
        length: Annotated[float, AtLeast(0)] = 2.5,
        decay: Annotated[float, Between(0, 1)] = 0.8,
        index: Annotated[int, AtLeast(0)] = 0,
        goal: Literal["mean", "drift", "class"] = "mean",
        begin: Annotated[int, AtLeast(0)] = 0,
        period: Annotated[int, AtLeast(0)] = 0,
    ) -> None:
        self.seed, self.direction, self.place, self.offset = seed, direction, place, offset
        self.length, self.decay, self.index, self.goal = length, decay, index, goal
        self.begin, self.period, self.count = begin, period, 0
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
        rows, self.count = honest.matrix, num_byzantine
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
        words = _WORDS if self.direction == "greedy" else (self.direction,)
        if self.direction == "greedy" and self.goal == "class":
            words = (*words, "starve")
        options = torch.stack([self._along(word, clipped, mean, last, layers) for word in words])
        goal = {"mean": -mean, "drift": -self.slow}.get(self.goal)
        if goal is None:
            goal = self._along("starve", clipped, mean, last, layers)
        best = options[(options @ goal).argmax()]
        shares = self._shares(rows, clipped, best, goal / goal.norm().clamp_min(1e-12), round or 0)
        row = best if shares is None else with_shares(best, *shares)
        row = self.length * usual * row / row.norm().clamp_min(1e-12)
        return row.expand(num_byzantine, -1).clone()

    def _along(
        self,
        word: str,
        clipped: Tensor,
        mean: Tensor,
        last: Tensor | None,
        layers: tuple[int, ...],
    ) -> Tensor:
        assert self.first is not None
        assert self.last is not None
        assert self.slow is not None
        now = self.last
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

    def _shares(
        self, rows: Tensor, clipped: Tensor, v: Tensor, goal: Tensor, index: int
    ) -> tuple[float, float] | None:
        """Shares of positive and of negative signs of the colluders."""
        if self.place == "own":
            return None
        points = sign_shares(rows)
        middle = points.mean(0)
        _, scales, axes = torch.linalg.svd(points - middle, full_matrices=False)
        steps = scales[:2, None] / len(rows) ** 0.5 * axes[:2]  # one standard deviation each
        if self.place == "shift":
            return _valid(middle + self.offset * steps[0])
        kept = largest_cluster(sign_features(rows))
        usual = points[kept].mean(0)
        center = points[(points - usual).norm(dim=1).argmin()]
        if self.place == "center":
            return _valid(center)
        grid = [middle + a * steps[0] + b * steps[1] for a in OFFSETS for b in (-1.25, 0.0, 1.25)]
        targets = [_valid(place) for place in (center, *grid)]
        tried = torch.stack([with_shares(v, *target) for target in targets])
        values = self._values(rows, tried, goal, index)
        return targets[int(values.argmax())]

    def _values(self, rows: Tensor, tried: Tensor, goal: Tensor, index: int) -> Tensor:
        """How far a copy of the rule goes along the goal, for each row the colluders may send."""
        h, f = len(rows), self.count
        lengths = rows.norm(dim=1)
        usual = float(torch.cat([lengths, lengths.new_full((f,), float("inf"))]).sort().values[
            (h + f - 1) // 2
        ])  # fmt: skip
        reach = (rows @ goal) * (usual / lengths.clamp_min(1e-12)).clamp_max(1)
        gain = usual * (tried @ goal) / tried.norm(dim=1).clamp_min(1e-12)
        stream = generator(self.seed, "mimic_signs", index)
        values = torch.zeros(len(tried))
        d = rows.shape[1]
        for _ in range(DRAWS):
            columns = torch.randperm(d, generator=stream)[: max(int(FRACTION * d), 1)]
            sampled, own = rows[:, columns], tried[:, columns]
            for k in range(len(tried)):
                features = sign_features(torch.cat([sampled, own[k].expand(f, -1)]))
                kept = largest_cluster(features)
                among = int(kept[h:].sum())
                total = float(reach[kept[:h]].sum()) + among * float(gain[k])
                values[k] += total / max(1, int(kept.sum()))
        return values

    def state_dict(self) -> dict[str, Any]:
        """What is kept between rounds."""
        return {word: getattr(self, word) for word in _KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        for word in _KEPT:
            setattr(self, word, state[word])


_KEPT = ("first", "last", "slow")
_WORDS = ("reverse", "drift", "forward", "undo", "shrink")


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
