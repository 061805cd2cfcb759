"""Skewed set of the honest updates of a round, and the space where a row can hide in it.

Both stages of STRIKE's geometry, eq. 6-13 of Y. Liu et al., "Exploit Gradient Skewness to
Circumvent Byzantine Defenses for Federated Learning" (2025), shared by the attack and by the skew
metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from torch import Tensor

from fl_platform.core.deferred import Number, number
from fl_platform.core.updates import Updates
from fl_platform.metrics.spread import offsets_sq, step_within

MedianStart = Literal["midpoint", "lower", "upper"]


def search_direction(honest: Updates, median: MedianStart = "midpoint") -> Tensor:
    """``(d,)`` direction from the honest mean to the honest median: u = g_med - g_mean (eq. 6).

    ``median`` selects among the two middle values of an even number of rows. ``upper`` is the
    negated lower median of the negated rows: the official code applies ``torch.median`` (lower)
    to its ``w_i - w``.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics.skewed_set import search_direction
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> search_direction(honest).tolist()
        [-1.0, 0.0]
    """
    if median not in ("midpoint", "lower", "upper"):
        raise ValueError(f"Expected median midpoint, lower or upper, got {median!r}.")
    return honest.median(median) - honest.mean()


def skewed_size(rows: int, num_byzantine: int, share: float | None = None) -> int:
    """Size of S: h - f or the given share of the known rows, from 1 to h."""
    size = rows - num_byzantine if share is None else round(share * rows)
    return min(max(size, 1), rows)


def highest(projection: Tensor, size: int) -> Tensor:
    """``(size,)`` ascending indices of the highest projections (eq. 8); ties: the lower index.

    Eq. 7 matters only by its order, which neither the centre of ``Updates.project`` nor the length
    of u changes.

    Example:
        >>> import torch
        >>> from fl_platform.metrics.skewed_set import highest
        >>> highest(torch.tensor([3.0, 1.0, 2.0]), 2).tolist()
        [0, 2]
    """
    return projection.sort(descending=True, stable=True).indices[:size].sort().values


@dataclass(frozen=True)
class HidingSpace:
    """Space in which a row can hide among the m rows of the skewed set S.

    Attributes:
        centre: ``(d,)`` mean of S.
        direction: ``(d,)`` v = sign(direction_sign) * std of S, the direction of eq. 12.
        offsets_sq: ``(m,)`` float64 squared distances of S from its centre.
        along: ``(m,)`` float64 <centre - g_s, v>.
        direction_sq: squared length of v.
        diameter_sq: largest squared distance between two rows of S.
    """

    centre: Tensor
    direction: Tensor
    offsets_sq: Tensor
    along: Tensor
    direction_sq: Number
    diameter_sq: Number

    def largest_step(self) -> Number:
        """alpha*: largest step whose distance to every row of S is within the diameter (eq. 13)."""
        return step_within(self.offsets_sq, self.along, self.direction_sq, self.diameter_sq)


def hiding_space(
    honest: Updates, index: Tensor, direction_sign: Tensor | None = None
) -> HidingSpace:
    """Hiding space of eq. 9 and 12 for the rows at ``index``: three reads and the Gram.

    Args:
        honest: ``(h, d)`` honest updates.
        index: ``(m,)`` indices of the rows of S.
        direction_sign: ``(d,)`` vector whose signs are used. Default: mean of S - honest mean.
    """
    rows = honest.select(index)
    centre = rows.mean()
    signs = centre - honest.mean() if direction_sign is None else direction_sign
    direction = signs.sign() * rows.std()
    projection = rows.project(direction)  # about the centre of the Gram, which cancels below
    return HidingSpace(
        centre,
        direction,
        offsets_sq(rows),
        projection.mean() - projection,
        honest.dot(direction, direction),
        number(rows.squared_distances().max()),
    )


@dataclass(frozen=True)
class Skewed:
    """Result of stage 1: ``(h,)`` projections (up to a constant), rows of S, hiding space."""

    projection: Tensor
    index: Tensor
    space: HidingSpace


# Cache: the attack and the skew metrics need the same result for the same updates. Weak keys, so
# that the cache keeps no updates alive.
_found: WeakKeyDictionary[Updates, dict[tuple[str, int, bool], Skewed]] = WeakKeyDictionary()


def skewed(
    honest: Updates, size: int, median: MedianStart = "midpoint", *, reverse: bool = False
) -> Skewed:
    """Skewed set: the ``size`` rows of highest projection; with ``reverse`` of lowest.

    If S has all rows, mean of S - mean vanishes and the search direction replaces it.
    """
    known = _found.setdefault(honest, {})
    if (median, size, reverse) not in known:
        direction = search_direction(honest, median)
        projection = honest.project(direction)
        index = highest(-projection if reverse else projection, size)
        space = hiding_space(
            honest, index, direction_sign=direction if size == len(honest) else None
        )
        known[median, size, reverse] = Skewed(projection, index, space)
    return known[median, size, reverse]
