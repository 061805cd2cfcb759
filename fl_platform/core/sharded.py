"""Updates of which each process of a group holds all rows but only some coordinates."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fl_platform.core.updates import Updates


class Group(Protocol):
    """Processes that hold the coordinates between them; every call waits for all of them."""

    def sum(self, part: Tensor) -> Tensor:
        """The sum of every process's ``part``, the same bits for all."""

    def largest(self, part: Tensor) -> Tensor:
        """The elementwise maximum of every process's ``part``."""


class ShardedUpdates(Updates):
    """The rows of a round, cut across the coordinates.

    Coordinate-wise answers (``mean``, ``std``, ``median``, ``combine``, ``columns``) are those of
    the coordinates held here; what adds up along a row (``gram``, ``squared_distances``,
    ``project``, ``dot``, ``length``) is added up over the group in float64, so that every process
    has the whole answer, to the bit the same, and decides alike. No process ever holds the
    ``(m, d)`` matrix.

    All processes must ask the same questions in the same order. A rule that reduces a vector by
    itself (``vector.norm()``, ``argmax``) would see its own coordinates alone.

    Args:
        shard: ``(m, d_r)`` this process's coordinates of all m rows.
        group: who holds the others.
    """

    def __init__(self, shard: Tensor, group: Group) -> None:
        super().__init__(shard)
        self._group = group

    def summed(self, part: Tensor) -> Tensor:
        """The sum of every process's ``part``."""
        return self._group.sum(part)

    def largest(self, part: Tensor) -> Tensor:
        """The elementwise maximum of every process's ``part``."""
        return self._group.largest(part)
