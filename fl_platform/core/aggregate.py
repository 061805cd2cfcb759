"""What a defense makes of a round: a vector, and the weights that made it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_platform.core.deferred import Number


@dataclass(frozen=True)
class Aggregate:
    """The aggregated update and how it came about.

    Attributes:
        vector: ``(d,)`` the estimate of the honest mean.
        weights: ``(m,)`` over all received rows, or ``None`` for coordinate-wise rules;
            ``weights @ received + anchor_weight * anchor == vector``, and
            ``weights.sum() + anchor_weight == 1``.
        anchor_weight: the share of a point that is no row (centered clipping's centre).
        dropped: ``(k,)`` indices of received rows that the gate refused, or ``None``.
        clamped: whether f had to be lowered to the largest that the rule tolerates.
    """

    vector: Tensor
    weights: Tensor | None = None
    anchor_weight: Number = 0.0
    dropped: Tensor | None = None
    clamped: bool = False
