"""Distance of the aggregate and of the Byzantine updates from the honest mean."""

from __future__ import annotations

import math

from torch import Tensor

from fl_platform.core.deferred import Number, chosen, number, over, sqrt
from fl_platform.core.updates import Updates
from fl_platform.metrics.spread import offsets_sq


def deviation(
    honest: Updates, aggregate: Tensor, byzantine: Tensor | None = None
) -> dict[str, Number]:
    r"""Distances from the honest mean, absolute and in honest radii sqrt(V).

    .. math:: \|A - \bar g\|, \quad \frac{\|A - \bar g\|}{\sqrt V}, \quad
        \frac{\langle A, \bar g\rangle}{\|A\| \|\bar g\|}, \quad
        V = \frac1h \sum_i \|g_i - \bar g\|^2

    Args:
        honest: ``(h, d)`` honest updates.
        aggregate: ``(d,)`` result of the defense.
        byzantine: ``(f, d)`` updates sent by the attack, if any.

    Returns:
        ``deviation``, the distance of A from the mean; ``deviation_ratio``, the same over
        sqrt(V), whose square is the empirical kappa with the honest rows as G; ``cosine`` of A
        and the mean, from -1 (opposite) to 1; ``honest_radius`` = sqrt(V). With Byzantine rows also
        ``byzantine_distance``, their mean distance from the mean in honest radii (the strength
        of the attack), and ``byzantine_cosine`` of their mean and the mean. A ratio over zero
        is infinite, but 0 / 0 is 0; a cosine with a zero vector is 0.

    Raises:
        ValueError: ``aggregate`` or ``byzantine`` has another dimension.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics import deviation
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> values = deviation(honest, honest.mean() * 2)
        >>> round(values["deviation"], 4), round(values["cosine"], 4)
        (2.2361, 1.0)
    """
    mean = honest.mean()
    if aggregate.shape != mean.shape:
        raise ValueError(
            f"Expected an aggregate of shape {tuple(mean.shape)}, got {tuple(aggregate.shape)}."
        )
    radius = sqrt(number(offsets_sq(honest).mean()))
    off = honest.length(aggregate - mean)
    values: dict[str, Number] = {
        "deviation": off,
        "deviation_ratio": ratio(off, radius),
        "cosine": cosine(honest, aggregate, mean),
        "honest_radius": radius,
    }
    if byzantine is None or len(byzantine) == 0:
        return values
    if byzantine.ndim != 2 or byzantine.shape[1:] != mean.shape:
        raise ValueError(
            f"Expected Byzantine rows of shape (f, {len(mean)}), got {tuple(byzantine.shape)}."
        )
    # Equal rows are a stride-0 view: one of them suffices.
    rows = byzantine[:1] if byzantine.stride(0) == 0 else byzantine
    distance = sum(honest.length(row - mean) for row in rows) / len(rows)
    values["byzantine_distance"] = ratio(distance, radius)
    values["byzantine_cosine"] = cosine(honest, rows.mean(0), mean)
    return values


def ratio(part: Number, whole: Number) -> Number:
    """part / whole for part and whole >= 0; 0 / 0 is 0, other ratios over 0 are infinite.

    Example:
        >>> from fl_platform.metrics.deviation import ratio
        >>> ratio(1, 4), ratio(0, 0), ratio(1, 0)
        (0.25, 0.0, inf)
    """
    if isinstance(part, Tensor) or isinstance(whole, Tensor):
        return chosen(part != 0, lambda: part / whole, 0.0)
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole


def cosine(honest: Updates, a: Tensor, b: Tensor) -> Number:
    """Cosine in float64 of two vectors in the layout of the rows; 0 if one of them is zero."""
    return over(honest.dot(a, b), honest.length(a) * honest.length(b))
