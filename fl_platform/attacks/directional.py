"""Colluders that push along a chosen direction: the family that the arena searches."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.attacks.models import check_model
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rng import generator
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates

Direction = Literal[
    "reverse", "boost", "sign", "undo", "shrink", "back", "class", "singular", "random"
]
OF_THE_MODEL = ("undo", "shrink", "back")


@rule(label="directional", shardable="draws directions and keeps models over all coordinates")
class Directional:
    r"""Updates at a chosen distance from the honest mean, along one direction.

    With the honest mean m, the rms distance R of honest updates from it and a unit vector v:

    .. math::
        \text{none:}\quad g_b &= m + a R v \\
        \text{honest:}\quad g_b &= m + a R v + (g_{j(b)} - m) \\
        \text{orthogonal:}\quad g_b &= L\,(a' v + \sqrt{1 - a'^2}\, n_b), \quad a' = \min(a, 1)

    j(b) are different honest clients (as long as there are enough), L is the median length of
    honest updates, n_b are random unit vectors orthogonal to v, the same in each round.

    Args:
        seed: of the run; j, n_b and random directions are drawn from stream ``directional``.
        direction: v, as the direction of the update (the server subtracts it): ``reverse`` -m;
            ``boost`` m; ``sign`` -sign(m); ``undo`` w_t - w_0, back to the first model;
            ``shrink`` w_t, to the zero model; ``back`` w_t - w_{t-1}, back by one round;
            ``class``: ones on the last layer's weights and bias of class ``index``, which lowers
            its logit; ``singular``: the right singular vector number ``index`` of the centred
            honest updates, against m; ``random``: a fixed direction, number ``index``. Where the
            vector is zero (w_0 - w_0), it is ``reverse``.
        length: a, in units of R; for ``orthogonal`` the cosine between row and v.
        scatter: ``none``: all rows equal; ``honest``; ``orthogonal``.
        index: which class, singular vector or random direction; taken modulo their number.
        begin: first round of the attack.
        period: 0: every round; else on for ``period`` rounds, off for as many, and so on.

    The instance is called with honest ``(h, d)``, f and, where known, ``model`` ``(d,)``,
    ``round`` t and ``layers``, and returns ``(f, d)`` rows. In rounds without attack it sends
    the updates of the clients j(b). It raises TypeError or ValueError on inputs that are no
    updates, no count or, where ``direction`` needs one, no model.

    Source: this platform. The idea of colluders at a tuned distance along a direction is that of
    V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine" (2021); that of attacks that
    return to an earlier model, of Y. Xie, M. Fang, N. Z. Gong, PoisonedFL (2025).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        direction: Direction = "reverse",
        length: Annotated[float, AtLeast(0)] = 1.0,
        scatter: Literal["none", "honest", "orthogonal"] = "none",
        index: Annotated[int, AtLeast(0)] = 0,
        begin: Annotated[int, AtLeast(0)] = 0,
        period: Annotated[int, AtLeast(0)] = 0,
    ) -> None:
        if not length >= 0 or min(index, begin, period) < 0:
            raise ValueError(
                "Expected length, index, begin and period >= 0,"
                f" got {length}, {index}, {begin} and {period}."
            )
        self.seed, self.direction, self.length = seed, direction, length
        self.scatter, self.index, self.begin, self.period = scatter, index, begin, period
        self.first: Tensor | None = None
        self.last: Tensor | None = None

    def __call__(
        self,
        honest: Updates,
        num_byzantine: int,
        model: Tensor | None = None,
        round: int | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor:
        """``(f, d)`` this round's rows; models are remembered for the next ones."""
        check_inputs(honest, num_byzantine)
        before = self._models(honest, model)
        places = self._places(len(honest), num_byzantine).to(honest.device)
        if not self._on(round or 0):
            return honest.matrix[places]
        mean = honest.mean()
        unit = _unit(self._direction(honest, before, layers))
        unit = _unit(-mean) if unit is None else unit
        if unit is None:  # the mean is zero: nothing to push along
            unit = torch.zeros_like(mean)
        if self.scatter == "orthogonal":
            return self._around(honest, unit, num_byzantine)
        radius = honest.squared_distances_to(mean).mean().sqrt()
        pushed = mean + (self.length * radius).to(mean) * unit
        if self.scatter == "honest":
            return honest.matrix[places] + (pushed - mean)
        return equal_rows(pushed, num_byzantine)

    def _on(self, index: int) -> bool:
        since = index - self.begin
        return since >= 0 and (not self.period or (since // self.period) % 2 == 0)

    def _models(self, honest: Updates, model: Tensor | None) -> Tensor | None:
        """The direction that is computed from models, if it is one; keeps the model."""
        if self.direction not in OF_THE_MODEL:
            return None
        now = check_model(honest, model, "directional")
        first = now if self.first is None else self.first.to(now)
        last = now if self.last is None else self.last.to(now)
        if self.first is None:
            self.first = now.clone()
        self.last = now.clone()
        away = {"undo": now - first, "back": now - last, "shrink": now}
        return away[self.direction]

    def _direction(
        self, honest: Updates, of_models: Tensor | None, layers: tuple[int, ...] | None
    ) -> Tensor:
        mean = honest.mean()
        if of_models is not None:
            return of_models
        if self.direction == "boost":
            return mean
        if self.direction == "sign":
            return -mean.sign()
        if self.direction == "class":
            return _class_direction(mean, layers or (len(mean),), self.index)
        if self.direction == "singular":
            return _singular(honest, self.index)
        if self.direction == "random":
            return self._drawn(1, len(mean), self.index)[0].to(mean)
        return -mean

    def _around(self, honest: Updates, unit: Tensor, count: int) -> Tensor:
        """Rows of one length whose cosine with ``unit`` is ``length``, orthogonal beside it."""
        drawn = self._drawn(count, len(unit), -1).to(unit)
        drawn = drawn - (drawn @ unit)[:, None] * unit
        drawn = drawn / drawn.norm(dim=1, keepdim=True).clamp(min=1e-12)
        share = min(self.length, 1.0)
        median = honest.squared_norms().sqrt().median().to(unit)
        return median * (share * unit + (1 - share**2) ** 0.5 * drawn)

    def _drawn(self, count: int, size: int, number: int) -> Tensor:
        stream = generator(self.seed, "directional", number)
        return torch.randn(count, size, generator=stream)

    def _places(self, honest: int, count: int) -> Tensor:
        order = torch.randperm(honest, generator=generator(self.seed, "directional", -2, honest))
        return order.repeat(-(-max(count, 1) // honest))[:count]

    def state_dict(self) -> dict[str, Any]:
        """The first model and that of the last round."""
        return {"first": self.first, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.first, self.last = state["first"], state["last"]


def _unit(vector: Tensor) -> Tensor | None:
    """``vector`` at length 1, or ``None`` where it is zero."""
    length = vector.norm()
    return vector / length if length > 0 else None


def _class_direction(like: Tensor, layers: tuple[int, ...], index: int) -> Tensor:
    """Ones where the last layer computes one class: its bias, and its weights if they fit."""
    direction = torch.zeros_like(like)
    classes = layers[-1]
    direction[len(like) - classes + index % classes] = 1
    if len(layers) > 1 and layers[-2] % classes == 0:
        start, width = len(like) - classes - layers[-2], layers[-2] // classes
        start += index % classes * width
        direction[start : start + width] = 1
    return direction


def _singular(honest: Updates, index: int) -> Tensor:
    """The right singular vector number ``index`` of the centred rows, against their mean."""
    gram = honest.gram()
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    vectors = torch.linalg.eigh(centred).eigenvectors
    weights = vectors[:, len(vectors) - 1 - index % len(vectors)]
    weights = weights - weights.mean()  # an eigenvector of the centred rows sums to zero
    vector = honest.combine(weights)
    return -vector if honest.dot(vector, honest.mean()) > 0 else vector


directional = Directional
