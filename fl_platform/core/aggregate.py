"""The result of a defense: a vector, and the weight of each received row in it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_platform.core.deferred import Number


@dataclass(frozen=True)
class Aggregate:
    """The aggregated update, and the weights of the rows.

    Attributes:
        vector: ``(d,)`` the estimate of the honest mean.
        weights: ``(m,)`` over all received rows, or ``None`` for coordinate-wise rules;
            ``weights @ received + anchor_weight * anchor == vector``, and
            ``weights.sum() + anchor_weight == 1``.
        anchor_weight: the weight of a point that is not a row (centered clipping's centre).
        dropped: ``(k,)`` indices of received rows that the input check removed, or ``None``.
        clamped: ``True`` if f was lowered to the largest value that the rule tolerates.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import krum
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> result = krum(updates, 1)
        >>> bool((result.weights.float() @ updates.matrix == result.vector).all())
        True
    """

    vector: Tensor
    weights: Tensor | None = None
    anchor_weight: Number = 0.0
    dropped: Tensor | None = None
    clamped: bool = False


def as_aggregate(result: object, rule: str) -> Aggregate:
    """The result of ``rule`` as an `Aggregate`; a ``(d,)`` tensor becomes one without weights.

    Raises:
        TypeError: another type or shape.
    """
    if isinstance(result, Aggregate):
        return result
    if isinstance(result, Tensor) and result.ndim == 1:
        return Aggregate(result)
    got = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else result
    got = got if isinstance(got, str) else type(got).__name__
    raise TypeError(f"Expected {rule} to return an Aggregate or a (d,) tensor, got {got}.")
