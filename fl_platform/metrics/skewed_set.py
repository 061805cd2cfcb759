"""The skewed set of a round's honest updates and the room that it leaves for a hidden row.

Both stages of STRIKE's geometry, eq. 6-13 of Y. Liu et al., "Exploit Gradient Skewness to
Circumvent Byzantine Defenses for Federated Learning" (2025): the attack uses them to hide, the
skew report to measure how much could be hidden.
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
    """``(d,)`` from the honest mean to the honest median: u = g_med - g_mean (eq. 6).

    ``median`` decides between the two middle values of an even number of rows. ``upper`` is
    the lower median of the negated rows, which is what the official code's ``torch.median``
    takes on its ``w_i - w``.

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
    """How many of the known rows S takes: h - f or the stated share, at least one, at most h."""
    size = rows - num_byzantine if share is None else round(share * rows)
    return min(max(size, 1), rows)


def highest(projection: Tensor, size: int) -> Tensor:
    """``(size,)`` rising indices of the highest projections (eq. 8), ties to the lower index.

    Of eq. 7 only the order counts, so ``Updates.project`` serves: neither its centre nor the
    length of u changes the order.

    Example:
        >>> import torch
        >>> from fl_platform.metrics.skewed_set import highest
        >>> highest(torch.tensor([3.0, 1.0, 2.0]), 2).tolist()
        [0, 2]
    """
    return projection.sort(descending=True, stable=True).indices[:size].sort().values


@dataclass(frozen=True)
class Room:
    """Where a row can hide among the skewed rows S, m of them.

    Attributes:
        centre: ``(d,)`` mean of S.
        way: ``(d,)`` v = sign(lean) * std of S, the way of eq. 12.
        offsets_sq: ``(m,)`` float64 squared distances of S from its centre.
        along: ``(m,)`` float64 <centre - g_s, v>.
        way_sq: squared length of v.
        diameter_sq: largest squared distance between two rows of S.
    """

    centre: Tensor
    way: Tensor
    offsets_sq: Tensor
    along: Tensor
    way_sq: Number
    diameter_sq: Number

    def largest_step(self) -> Number:
        """alpha*: how far along the way every row of S stays within the diameter (eq. 9, 13)."""
        return step_within(self.offsets_sq, self.along, self.way_sq, self.diameter_sq)


def room(honest: Updates, index: Tensor, lean: Tensor | None = None) -> Room:
    """Everything that eq. 9 and eq. 12 ask about the rows at ``index``: three reads and the Gram.

    Args:
        honest: ``(h, d)`` honest updates.
        index: ``(m,)`` the rows of S.
        lean: ``(d,)`` whose sign gives the direction; ``None``: mean of S - honest mean.
    """
    rows = honest.select(index)
    centre = rows.mean()
    way = (centre - honest.mean() if lean is None else lean).sign() * rows.std()
    projection = rows.project(way)  # about the Gram's centre, which cancels in what follows
    return Room(
        centre,
        way,
        offsets_sq(rows),
        projection.mean() - projection,
        honest.dot(way, way),
        number(rows.squared_distances().max()),
    )


@dataclass(frozen=True)
class Skewed:
    """What stage 1 finds: ``(h,)`` projections (up to a constant), the rows of S, their room."""

    projection: Tensor
    index: Tensor
    room: Room


# The attack and the skew report ask the same of the same updates: the second gets the answer
# of the first. Nothing here keeps updates alive.
_found: WeakKeyDictionary[Updates, dict[tuple[str, int, bool], Skewed]] = WeakKeyDictionary()


def skewed(
    honest: Updates, size: int, median: MedianStart = "midpoint", *, reverse: bool = False
) -> Skewed:
    """The ``size`` rows of highest projection, of lowest where the search is run in reverse.

    Where all rows are taken, mean of S - mean vanishes and the search direction stands in.
    """
    known = _found.setdefault(honest, {})
    if (median, size, reverse) not in known:
        direction = search_direction(honest, median)
        projection = honest.project(direction)
        index = highest(-projection if reverse else projection, size)
        space = room(honest, index, lean=direction if size == len(honest) else None)
        known[median, size, reverse] = Skewed(projection, index, space)
    return known[median, size, reverse]
