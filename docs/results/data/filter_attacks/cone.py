"""Colluders on a cone about one direction, as wide as the spectral filter lets them be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from fl_platform.core import Updates
from fl_platform.core.constraints import AtLeast, Between
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule

Direction = Literal[
    "reverse", "drift", "forward", "undo", "shrink", "starve", "vertex", "split", "greedy", "search"
]
LENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
STEPS = (0.3, 0.45, 0.6, 0.8, 1.0)  # of ``greedy`` and ``search``


@rule(label="cone", shardable="draws directions and keeps models over all coordinates")
class Cone:
    r"""Byzantine rows of the median honest length, at one angle to a direction v.

    .. math:: g_b = L (a v + \sqrt{1 - a^2}\, n_b)

    Args:
        seed: of the run; n_b are drawn from stream ``cone``, once for all rounds.
        direction: v, as the direction of the update (the server subtracts it), from honest rows
            scaled to one length, with mean m: ``reverse`` -m; ``drift`` minus the exponential
            mean of m over the rounds, the direction of a momentum buffer;
            ``forward`` w_{t-1} - w_t, which continues the last step and so adds momentum;
            ``undo`` w_t - w_0; ``shrink`` w_t; ``starve`` minus the mean of the honest rows that
            push class ``index`` most, a fifth of them: these rows lie opposite to the colluders
            and are removed as outliers; ``vertex``: main direction number ``index`` of the honest
            rows, against m; ``split``: half of the colluders at -m + u, half at -m - u, u the
            ``vertex`` direction, so that each direction holds less; ``greedy``: each round the
            direction and a, among reverse, drift, forward, starve and the vertices 0 to 3, after
            which the filter's answer has the least inner product with ``goal``; ``search``: the
            same, and random neighbours of the last round's choice.
        length: a; 0 for the value of a list, each round anew, after which the filter's answer
            goes farthest along v. The attacker computes the filter on the inner products.
        scatter: n_b ``orthogonal``: random, orthogonal to v; ``pairs``: the same, n and -n, so
            that they cancel; ``honest``: honest row b less m, orthogonal to v, at length 1.
        index: class or main direction.
        decay: share of the exponential mean that is kept per round.
        classes: number of classes of ``starve``, from ``index`` on.
        goal: of ``greedy`` and ``search``: this round's ``mean``, the exponential one
            (``drift``), or the mean of the rows that push class ``index`` (``class``) or the
            class that is easiest to starve in the first round (``easiest``).
        begin: first round of the attack.
        period: 0: every round; else on for ``period`` rounds, off for as many.

    In rounds without attack the rows are those of the first f honest clients. Source: ours.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        direction: Direction = "reverse",
        length: Annotated[float, AtLeast(0)] = 0.0,
        scatter: Literal["orthogonal", "pairs", "honest"] = "orthogonal",
        index: Annotated[int, AtLeast(0)] = 0,
        begin: Annotated[int, AtLeast(0)] = 0,
        period: Annotated[int, AtLeast(0)] = 0,
        decay: Annotated[float, Between(0, 1)] = 0.8,
        goal: Literal["mean", "drift", "class", "easiest"] = "mean",
        classes: Annotated[int, AtLeast(1)] = 1,
    ) -> None:
        self.seed, self.direction, self.length = seed, direction, length
        self.scatter, self.index, self.begin, self.period = scatter, index, begin, period
        self.decay, self.goal, self.classes = decay, goal, classes
        self.first: Tensor | None = None
        self.last: Tensor | None = None
        self.slow: Tensor | None = None
        self.chosen: Tensor | None = None
        self.label: int | None = None
        self.value = 0.0

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
        unit = rows / lengths.clamp_min(1e-12)[:, None]
        mean = unit.mean(0)
        self.slow = mean if self.slow is None else self.decay * self.slow + mean
        self.first = model.clone() if self.first is None else self.first
        last, self.last = self.last, model.clone()
        since = (round or 0) - self.begin
        if since < 0 or (self.period and (since // self.period) % 2):
            return rows[torch.arange(num_byzantine) % len(rows)]
        if self.direction in ("greedy", "search"):
            known: tuple[tuple[str, int], ...] = _GREEDY
            if self.goal in ("class", "easiest"):
                if self.label is None:
                    self.label = self._label(unit, mean, last, layers, num_byzantine)
                known = (("starve", self.label), *_GREEDY)
            options = [self._along(k, unit, mean, last, layers) for k in known]
            if self.direction == "search":
                options += self._neighbours(options, round or 0)
            goal = -mean if self.goal == "mean" else -self.slow
            if self.label is not None:
                goal = options[0]
        else:
            word = "reverse" if self.direction == "split" else self.direction
            options = [self._along((word, self.index), unit, mean, last, layers)]
            goal = options[0]
        best = self._best(unit, torch.stack(options), goal, num_byzantine)
        self.chosen = best[0]
        return lengths.median() * self._rows(*best, unit, mean, num_byzantine)

    def _along(
        self,
        which: tuple[str, int],
        unit: Tensor,
        mean: Tensor,
        last: Tensor | None,
        layers: tuple[int, ...],
    ) -> Tensor:
        word, index = which
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
            vector = torch.zeros_like(mean)
            for label in range(index, index + self.classes):
                pushes = -unit[:, unit.shape[1] - layers[-1] + label % layers[-1]]
                rows = unit[pushes.topk(max(1, len(unit) // 5)).indices].mean(0)
                vector = vector - rows / rows.norm().clamp_min(1e-12)
        elif word == "vertex":
            vector = _vertex(unit, mean, index)
        return vector / vector.norm().clamp_min(1e-12)

    def _neighbours(self, options: list[Tensor], index: int) -> list[Tensor]:
        """Random combinations of the directions beside the last choice, and that itself."""
        start = options[0] if self.chosen is None else self.chosen
        stream = generator(self.seed, "cone", index)
        mixed = torch.randn(8, len(options), generator=stream).to(start) @ torch.stack(options)
        tried = start + 0.4 * mixed / mixed.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return [each / each.norm().clamp_min(1e-12) for each in (start, *tried)]

    def _best(self, unit: Tensor, options: Tensor, goal: Tensor, f: int) -> tuple[Tensor, float]:
        """The direction and a after which the filter's answer goes farthest along the goal."""
        lengths = (self.length,) if self.length else LENGTHS
        if len(options) * len(lengths) == 1:
            return options[0], lengths[0]
        inner = (unit @ unit.T).double().numpy()
        beside = (unit @ options.T).double().numpy()  # (h, k)
        reach, gain = (unit @ goal).double().numpy(), (options @ goal).double().numpy()
        h, best = len(unit), (-np.inf, 0, 0.0)
        for k in range(len(options)):
            for a in lengths if len(options) == 1 else STEPS:
                gram = np.empty((h + f, h + f))
                gram[:h, :h] = inner
                gram[:h, h:] = a * beside[:, k : k + 1]
                gram[h:, :h] = gram[:h, h:].T
                gram[h:, h:] = a * a + (1 - a * a) * np.eye(f)
                left = _filtered(gram, f)
                own = left[left < h]
                value = (reach[own].sum() + a * gain[k] * (len(left) - len(own))) / len(left)
                best = max(best, (value, k, a))
        self.value = float(best[0])
        return options[best[1]], best[2]

    def _label(
        self, unit: Tensor, mean: Tensor, last: Tensor | None, layers: tuple[int, ...], f: int
    ) -> int:
        """The class of the attack: ``index``, or that which the filter lets starve most."""
        if self.goal == "class":
            return self.index
        values = []
        for label in range(layers[-1]):
            along = self._along(("starve", label), unit, mean, last, layers)
            self._best(unit, along[None], along, f)
            values.append(self.value)
        return values.index(max(values))

    def _rows(self, v: Tensor, a: float, unit: Tensor, mean: Tensor, f: int) -> Tensor:
        if self.scatter == "honest":
            beside = unit[torch.arange(f) % len(unit)] - mean
        else:
            stream = generator(self.seed, "cone")
            beside = torch.randn(f, len(v), generator=stream).to(v)
            if self.scatter == "pairs":
                beside[1::2] = -beside[: f - f % 2 : 2]
        beside = beside - (beside @ v)[:, None] * v
        beside = beside / beside.norm(dim=1, keepdim=True).clamp_min(1e-12)
        if self.direction == "split":
            other = _vertex(unit, mean, self.index)
            other = other - (other @ v) * v
            sides = torch.ones(f).to(v)
            sides[1::2] = -1
            spread = a * (1 - a * a) ** 0.5 * sides[:, None] * other / other.norm()
            return a * v + spread + (1 - a * a) * beside
        return a * v + max(0.0, 1 - a * a) ** 0.5 * beside

    def state_dict(self) -> dict[str, Any]:
        """What is kept between rounds."""
        return {word: getattr(self, word) for word in _KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        for word in _KEPT:
            setattr(self, word, state[word])


_KEPT = ("first", "last", "slow", "chosen", "label")
_GREEDY = (
    ("reverse", 0),
    ("drift", 0),
    ("forward", 0),
    ("vertex", 0),
    ("vertex", 1),
    ("vertex", 2),
    ("vertex", 3),
)


def _vertex(unit: Tensor, mean: Tensor, index: int) -> Tensor:
    """Main direction number ``index`` of the rows about their mean, against the mean."""
    centred = unit - mean
    _, vectors = torch.linalg.eigh(centred @ centred.T)
    vector = vectors[:, len(vectors) - 1 - index % len(vectors)] @ centred
    return -vector if float(vector @ mean) > 0 else vector


def _filtered(gram: np.ndarray, f: int) -> np.ndarray:
    """The rows that `spectral_filter` leaves, from their inner products."""
    left = np.arange(len(gram))
    for _ in range(f):
        inner = gram[np.ix_(left, left)]
        inner = inner - inner.mean(0) - inner.mean(1, keepdims=True) + inner.mean()
        last = len(left) - 1
        _, vector = eigh(inner, subset_by_index=[last, last])
        along = vector[:, 0]
        middle = np.partition(along, last // 2)[last // 2]
        left = np.delete(left, np.abs(along - middle).argmax())
    return left
