"""Krum and Multi-Krum: the rows with the closest neighbours."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule

Neighbors = Literal["n-f-2", "n-f-1"]
DistancePower = Literal[1, 2, 4]
Averaged = Literal["n-f", "n-f-2", "n-2f-2"] | Annotated[int, AtLeast(1)]


def _tolerates(n: int, *, neighbors: Neighbors = "n-f-2") -> int:
    """2f + 2 < n in the paper; with one neighbour more a minority, where kappa is finite too."""
    return (n - 1) // 2 if neighbors == "n-f-1" else (n - 3) // 2


def _kappa(
    n: int, f: int, *, neighbors: Neighbors, distance_power: int, averaged: Averaged = 1
) -> float | None:
    nearest = n - 2 * f - (neighbors == "n-f-2")
    if distance_power != 2 or _rows_averaged(n, f, averaged) > n - f:
        return None
    return (3 + 2 * math.sqrt(2)) * (n - f) / nearest if nearest > 0 else math.inf


@rule(label="Krum", tolerates=_tolerates, kappa=_kappa, shardable=True)
def krum(
    updates: Updates,
    num_byzantine: int,
    *,
    neighbors: Neighbors = "n-f-2",
    distance_power: DistancePower = 2,
) -> Aggregate:
    r"""The row with the least score.

    .. math:: s(i) = \sum_{j \in N_i} \|g_i - g_j\|^p, \quad \hat g = g_{\arg\min_i s(i)}

    Two rows that are each other's only summed neighbour always have equal scores, so ties do
    occur: the row with the least sum over *all* others is taken, then the first.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, with 2f + 2 < n, or 2f < n for ``n-f-1``.
        neighbors: number of closest *other* rows in the sum: ``n-f-2`` is the paper's,
            ``n-f-1`` is ByzFL's and ByzPy's.
        distance_power: p: 2 in the paper; 1 in FLPoison; 4 (squared twice) in epfml and fedlib.

    Guarantees (f, kappa)-robustness for p = 2 with kappa = (3 + 2 sqrt 2) (n - f) / k, where
    k = n - 2f for ``n-f-1`` and n - 2f - 1 for ``n-f-2``.

    References:
        Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent,
        NeurIPS 2017.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import krum
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> result = krum(updates, 1)
        >>> result.vector.tolist(), result.weights.tolist()
        ([2.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0])
    """
    distances = updates.squared_distances()
    return _average_of(
        updates, krum_ranking(distances, num_byzantine, neighbors, power=distance_power)[:1]
    )


@rule(label="Multi-Krum", tolerates=_tolerates, kappa=_kappa, shardable=True)
def multi_krum(
    updates: Updates,
    num_byzantine: int,
    *,
    neighbors: Neighbors = "n-f-2",
    distance_power: DistancePower = 2,
    averaged: Averaged = "n-f",
) -> Aggregate:
    r"""The mean of the m rows with the least scores, with ties, as in :func:`krum`.

    .. math:: \hat g = \frac1m \sum_{i \in S} g_i, \quad
        S = \text{the } m \text{ rows of least } s(i) = \sum_{j \in N_i} \|g_i - g_j\|^p

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, with 2f + 2 < n, or 2f < n for ``n-f-1``.
        neighbors: number of closest *other* rows in the sum: ``n-f-2`` (Blanchard et al.,
            the STRIKE authors' code) or ``n-f-1`` (ByzFL, ByzPy).
        distance_power: p: 2 in the paper; 1 in FLPoison; 4 (squared twice) in epfml and fedlib.
        averaged: m: ``n-f`` (the STRIKE authors' code, ByzFL), ``n-f-2`` (Blanchard et al.'s
            suggestion), ``n-2f-2`` (NDSS 2021), or a number, lowered to n if fewer rows arrive.

    Guarantees (f, kappa)-robustness for p = 2 and m <= n - f with the constants of :func:`krum`.

    References:
        Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent,
        NeurIPS 2017.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import multi_krum
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> result = multi_krum(updates, 1)
        >>> result.weights.tolist()  # the outlier has weight 0
        [0.25, 0.25, 0.25, 0.25, 0.0]
    """
    distances = updates.squared_distances()
    ranking = krum_ranking(distances, num_byzantine, neighbors, power=distance_power)
    keep = _rows_averaged(len(updates), num_byzantine, averaged)
    return _average_of(updates, ranking[:keep])


def krum_ranking(distances: Tensor, f: int, neighbors: Neighbors, *, power: int) -> Tensor:
    """``(n,)`` rows in order of their sum of distances to their closest other rows.

    Args:
        distances: ``(n, n)`` squared distances.
        f: number of Byzantine rows.
        neighbors: number of other rows in the sum, at least one if there is another row.
        power: exponent of the distance.
    """
    n = len(distances)
    fewer = {"n-f-2": 2, "n-f-1": 1}
    if neighbors not in fewer:
        raise ValueError(f"Expected neighbors as n-f-2 or n-f-1, got {neighbors!r}.")
    if power not in (1, 2, 4):
        raise ValueError(f"Expected distance_power as 1, 2 or 4, got {power!r}.")
    count = min(max(n - f - fewer[neighbors], 1), n - 1)
    ordered = (distances ** (power / 2)).fill_diagonal_(-1).sort(1).values[:, 1:]
    central = ordered.sum(1).argsort(stable=True)
    return central[ordered[central, :count].sum(1).argsort(stable=True)]


def _rows_averaged(n: int, f: int, averaged: Averaged) -> int:
    named = {"n-f": n - f, "n-f-2": n - f - 2, "n-2f-2": n - 2 * f - 2}
    if isinstance(averaged, str):
        if averaged not in named:
            raise ValueError(f"Expected averaged as {', '.join(named)} or m, got {averaged!r}.")
        return max(named[averaged], 1)
    if averaged < 1:
        raise ValueError(f"Expected averaged as a number of rows >= 1, got {averaged}.")
    return min(averaged, n)


def _average_of(updates: Updates, rows: Tensor) -> Aggregate:
    weights = torch.zeros(len(updates), dtype=torch.float64, device=rows.device)
    weights.scatter_(0, rows, 1 / len(rows))
    return Aggregate(updates.combine(weights), weights)
