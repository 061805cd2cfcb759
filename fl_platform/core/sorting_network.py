"""Sorting networks pruned to the selected ranks.

A network is a fixed list of compare-exchanges, so all columns of a matrix pass through it in
parallel without a branch, unlike a sort of each column.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple


class Exchange(NamedTuple):
    """The smaller of two wires on ``low``, the larger on ``high``; only the used outputs."""

    low: int
    high: int
    needs_low: bool
    needs_high: bool


def comparators(n: int) -> Iterator[tuple[int, int]]:
    """Batcher's merge exchange for n wires, O(n log^2 n) pairs (low, high).

    References:
        Kenneth E. Batcher, Sorting networks and their applications, AFIPS 1968; for any n as
        Algorithm M of Donald E. Knuth, The Art of Computer Programming 3, section 5.2.2.
    """
    if n < 2:
        return
    top = 1 << ((n - 1).bit_length() - 1)
    p = top
    while p:
        q, r, distance = top, 0, p
        while True:
            for i in range(n - distance):
                if i & p == r:
                    yield i, i + distance
            if q == p:
                break
            q, r, distance = q >> 1, p, q - p
        p >>= 1


@functools.cache
def network(n: int, first: int, stop: int) -> tuple[Exchange, ...]:
    """The exchanges that put the ranks ``first`` .. ``stop - 1`` of n values in their places.

    The network is traversed backwards from the selected wires; an exchange without a used output
    is dropped, and one with a single used output computes that output only.

    Example:
        >>> from fl_platform.core.sorting_network import network
        >>> len(network(8, 3, 5)), len(network(8, 0, 8))  # the middle two cost less than all
        (17, 19)
    """
    needed = set(range(first, stop))
    kept = []
    for low, high in reversed(list(comparators(n))):
        if low in needed or high in needed:
            kept.append(Exchange(low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))
