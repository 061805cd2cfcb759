"""Centered clipping: every row is clipped to within tau of the last aggregate."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, geometry
from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.deferred import number
from fl_platform.core.rule import rule

Start = Literal["zero", "mean", "median"]


@rule(
    label="CClip",
    tolerates=lambda n: (n - 1) // 2,
    kappa=lambda n, f, **parameters: math.inf,
    shardable=lambda rule: (
        not rule.memory or "keeps a point over all coordinates (memory=false does not)"
    ),
)
class CenteredClipping:
    r"""The centre v plus the mean of the clipped differences; v is kept for the next round.

    .. math:: v \leftarrow v + \frac1n \sum_i (g_i - v) \min(1, \tau / \|g_i - v\|)

    The aggregate is a combination of the rows and of the first v, so all steps after the first
    compute with n numbers; ``anchor_weight`` is the weight of that v.

    Args:
        seed: not used; the rule draws nothing.
        tau: the radius. 10 in the STRIKE authors' code and epfml, 100 in ByzFL and FLPoison, 1 in
            FL-Byz-Lib. No value fits every task: larger than every update makes the rule a mean,
            smaller than the honest spread slows training.
        iterations: steps per round, L; 1 in the paper's experiments.
        start: v of the first round, and of each round without memory: ``zero`` (the paper),
            ``mean`` (ByzPy) or ``median``, which does not depend on the scale of the updates.
        memory: ``true``: v is the last round's aggregate (the paper); ``false``: v is ``start``.

    Guarantees: none for a fixed tau in the sense of (f, kappa)-robustness. For identical honest
    rows farther than tau from v the aggregate differs from them.

    References:
        Karimireddy, He, Jaggi, Learning from History for Byzantine Robust Optimization,
        ICML 2021.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import centered_clipping
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> rule = centered_clipping(tau=1.0)
        >>> rule(updates, 1).vector
        tensor([0.8515, 0.1527])
        >>> rule(updates, 1).vector  # starts from the last aggregate
        tensor([1.4744, 0.3419])
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        tau: Annotated[float, Above(0)] = 10.0,
        iterations: Annotated[int, AtLeast(1)] = 1,
        start: Start = "zero",
        memory: bool = True,
    ) -> None:
        if not tau > 0 or iterations < 1:
            raise ValueError(f"Expected tau > 0 and iterations >= 1, got {tau} and {iterations}.")
        if start not in ("zero", "mean", "median"):
            raise ValueError(f"Expected start as zero, mean or median, got {start!r}.")
        self.tau, self.iterations, self.start, self.memory = tau, iterations, start, memory
        self.center: Tensor | None = None

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        """The moved centre; f < n / 2 is checked and not used."""
        result = clip_about(updates, self._center_for(updates), self.tau, self.iterations)
        if self.memory:
            self.center = result.vector.clone()
        return result

    def state_dict(self) -> dict[str, Any]:
        """The centre of the last round."""
        return {"center": self.center}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the centre."""
        self.center = state["center"]

    def _center_for(self, updates: Updates) -> Tensor:
        if self.center is not None:
            if len(self.center) != updates.dimension:
                raise ValueError(
                    f"Expected updates of dimension {len(self.center)}, as in the stored"
                    f" centre, got {updates.dimension}."
                )
            return self.center.to(updates.device, updates.dtype)
        if self.start == "mean":
            return updates.mean()
        if self.start == "median":
            return updates.median()
        return torch.zeros(updates.dimension, dtype=updates.dtype, device=updates.device)


def clip_about(updates: Updates, center: Tensor, tau: float, iterations: int) -> Aggregate:
    """``iterations`` steps from ``center``, a point of shape ``(d,)``."""
    own = updates.squared_distances_to(center)
    weights = _step(torch.zeros_like(own), own, tau)
    if iterations > 1:
        # Inner products about the centre, whose weight is 1 minus the sum of the weights:
        # <a, b> = (|a|^2 + |b|^2 - |a - b|^2) / 2.
        inner = (own[:, None] + own[None, :] - updates.squared_distances()) / 2
        for _ in range(iterations - 1):
            weights = _step(weights, geometry.squared_distances_to(inner, weights), tau)
    anchor_weight = number(1 - weights.sum())
    vector = updates.combine(weights) + anchor_weight * center
    return Aggregate(vector, weights, anchor_weight)


def _step(weights: Tensor, squares: Tensor, tau: float) -> Tensor:
    """Weights of the rows after one step; ``squares``: squared distances to the point before it."""
    pulls = tau / squares.sqrt().clamp_min(tau) / len(weights)
    return (1 - pulls.sum()) * weights + pulls


centered_clipping = CenteredClipping
