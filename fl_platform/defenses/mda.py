"""MDA: the mean of the n - f rows of least diameter, by an exact search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule


@rule(
    label="MDA",
    tolerates=lambda n: (n - 1) // 2,
    kappa=lambda n, f, **parameters: 8 * f * f / (n - f),
    shardable=True,
)
def mda(
    updates: Updates,
    num_byzantine: int,
    *,
    max_subsets: Annotated[int, AtLeast(1)] = 1_000_000,
) -> Aggregate:
    r"""The mean of the subset of n - f rows with the smallest diameter.

    .. math:: S = \arg\min_{|S| = n - f} \max_{i,j \in S} \|g_i - g_j\|, \quad
        \hat g = \operatorname{mean}_{i \in S} g_i

    Other implementations try all C(n, f) subsets (1e10 for n = 50, f = 10). Of two rows farther
    apart than D at least one is removed, so the f removed rows are a vertex cover of all such
    pairs. The search for one has at most 2^f branches, usually far fewer. Bisection over the
    distances finds the least D with a cover. Of several subsets with that diameter the one with
    the least sum of squared distances is taken, then the first.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2.
        max_subsets: limit of min(C(n, f), 2^f), above which the call is refused.

    Raises:
        ValueError: too many cases; the message contains the number.

    Guarantees (f, kappa)-robustness with kappa = 8 f^2 / (n - f): the aggregate and an honest mean
    differ by at most f / (n - f) times twice the honest diameter D, and D^2 <= 2 (n - f) Var.

    References:
        El-Mhamdi et al., Genuinely Distributed Byzantine Machine Learning, PODC 2020 (MDA);
        Rousseeuw, Multivariate Estimation with High Breakdown Point, 1985.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import mda
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> mda(updates, 1).vector.tolist()
        [2.0, 1.0]
    """
    n, f = len(updates), num_byzantine
    cases = min(math.comb(n, f), 2**f)
    if cases > max_subsets:
        raise ValueError(
            f"Expected at most max_subsets={max_subsets:,} cases for mda, got {cases:,} for n={n}"
            f" and f={f}; raise max_subsets, lower f, or use multi_krum."
        )
    weights = torch.zeros(n, dtype=torch.float64, device=updates.device)
    weights[smallest_diameter_subset(updates.squared_distances().cpu(), f)] = 1 / (n - f)
    return Aggregate(updates.combine(weights), weights)


def smallest_diameter_subset(distances: Tensor, f: int) -> Tensor:
    """``(n - f,)`` sorted indices of the subset described in :func:`mda`.

    Args:
        distances: ``(n, n)`` squared distances.
        f: number of rows to leave out.
    """
    levels = distances.unique()
    low, high = 0, len(levels) - 1  # no distance exceeds the last level: no row has to be removed
    while low < high:
        middle = (low + high) // 2
        if next(_covers(_farther_than(distances, levels[middle]), f), None) is None:
            low = middle + 1
        else:
            high = middle
    covers = list(_covers(_farther_than(distances, levels[low]), f))
    return min((_filled(distances, cover, f) for cover in covers), key=_preference)[2]


def _preference(candidate: tuple[float, list[int], Tensor]) -> tuple[float, list[int]]:
    return candidate[:2]


def _filled(distances: Tensor, cover: int, f: int) -> tuple[float, list[int], Tensor]:
    """The rows outside ``cover``, without the most distant ones, n - f in all."""
    n = len(distances)
    kept = torch.tensor([row for row in range(n) if not cover >> row & 1])
    while len(kept) > n - f:
        totals = distances[kept][:, kept].sum(1)
        worst = int(totals.argsort(stable=True)[-1])
        kept = torch.cat([kept[:worst], kept[worst + 1 :]])
    return float(distances[kept][:, kept].sum()), kept.tolist(), kept


def _farther_than(distances: Tensor, level: Tensor) -> list[int]:
    """Per row, the bit mask of the rows farther than ``level`` from it."""
    far = (distances > level).tolist()
    return [sum(1 << column for column, apart in enumerate(row) if apart) for row in far]


def _covers(far: list[int], budget: int) -> Iterator[int]:
    """Every set of at most ``budget`` rows whose removal leaves no two rows that are far apart.

    Yields bit masks; every minimal cover is among them.
    """

    def search(gone: int, left: int) -> Iterator[int]:
        degrees = [0 if gone >> row & 1 else (mask & ~gone).bit_count() for row, mask in rows]
        largest = max(degrees)
        if largest == 0:
            yield gone
            return
        if left == 0 or sum(degrees) > 2 * left * largest:
            return  # each removal resolves at most ``largest`` pairs
        row = degrees.index(largest)
        yield from search(gone | 1 << row, left - 1)
        neighbors = far[row] & ~gone
        if largest <= left:  # the row stays, so all rows far from it are removed
            yield from search(gone | neighbors, left - largest)

    rows = list(enumerate(far))
    return search(0, budget)
