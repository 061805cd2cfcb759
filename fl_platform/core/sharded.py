"""Updates distributed over the processes of a group: all rows, some coordinates each."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fl_platform.core.updates import Updates


class Group(Protocol):
    """Processes that together hold all coordinates; every call waits for all of them."""

    def sum(self, part: Tensor) -> Tensor:
        """The sum of ``part`` over all processes, with the same bits on each."""

    def largest(self, part: Tensor) -> Tensor:
        """The elementwise maximum of ``part`` over all processes."""


class ShardedUpdates(Updates):
    """The rows of a round, divided by coordinates.

    Coordinate-wise results (``mean``, ``std``, ``median``, ``combine``, ``columns``) are those of
    the local coordinates. Sums along a row (``gram``, ``squared_distances``, ``project``, ``dot``,
    ``length``) are added over the group in float64, so every process has the whole result with the
    same bits and takes the same decisions. No process holds the ``(m, d)`` matrix.

    All processes must call the same methods in the same order. A rule that reduces a vector by
    itself (``vector.norm()``, ``argmax``) would use the local coordinates only.

    Args:
        shard: ``(m, d_r)`` local coordinates of all m rows.
        group: the processes with the other coordinates.
    """

    def __init__(self, shard: Tensor, group: Group) -> None:
        super().__init__(shard)
        self._group = group

    def summed(self, part: Tensor) -> Tensor:
        """The sum of ``part`` over all processes."""
        return self._group.sum(part)

    def largest(self, part: Tensor) -> Tensor:
        """The elementwise maximum of ``part`` over all processes."""
        return self._group.largest(part)
