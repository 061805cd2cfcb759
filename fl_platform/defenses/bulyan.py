"""Bulyan: selection of rows by Krum, then a trimmed mean about their median."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, geometry
from fl_platform.core.coordinatewise import mean_nearest, middle_row, nearest_run
from fl_platform.core.rule import rule
from fl_platform.defenses.krum import DistancePower, Neighbors, krum_ranking
from fl_platform.defenses.median import MedianKind


@rule(label="Bulyan", tolerates=lambda n: (n - 3) // 4, shardable=True)
def bulyan(
    updates: Updates,
    num_byzantine: int,
    *,
    selection: Literal["iterated", "one-shot", "multi-krum"] = "iterated",
    neighbors: Neighbors = "n-f-2",
    distance_power: DistancePower = 2,
    center: MedianKind = "midpoint",
    averaged: Literal["values", "deviations", "trimmed"] = "values",
) -> Aggregate:
    r"""For each coordinate, the mean of the beta chosen values nearest to their median.

    First theta = n - 2f rows are chosen by Krum. Then, with beta = theta - 2f,

    .. math:: \hat g_k = \operatorname{mean} \{\beta \text{ values } g_{i,k}, i \text{ chosen,
        nearest to } \operatorname{med}_k\}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, with 4f + 3 <= n.
        selection: ``iterated`` moves Krum's winner to the chosen and runs Krum again on the rest
            (the paper); ``one-shot`` takes the theta least scores (the STRIKE authors' code,
            FL-Byz-Lib); ``multi-krum`` is the authors' own code: theta = n - 2f - 2 *averages* of
            the rows of least score, at most n - f of them and one fewer each time; after each
            average the row nearest to it is removed (krum-lib, whose second step is ``trimmed``).
        neighbors: as in :func:`krum`.
        distance_power: as in :func:`krum`; the STRIKE authors' code has 1 here.
        center: the median when theta is even, as in :func:`median`.
        averaged: ``values``; or ``deviations``, which averages ``-|g - med|`` in place of g: a
            fault of the STRIKE authors' code (minus, because its updates are ``w_i - w``), kept
            for comparison with that code; or ``trimmed``, a trimmed mean that cuts f values at
            each end: the same number of values, but not those nearest to the median.

    Guarantees, in the paper, that no coordinate is far from an honest value; we know of no
    published kappa.

    References:
        El Mhamdi, Guerraoui, Rouault, The Hidden Vulnerability of Distributed Learning in
        Byzantium, ICML 2018.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import bulyan
        >>> updates = Updates(torch.arange(7.0)[:, None])
        >>> bulyan(updates, 1).vector
        tensor([3.])
    """
    if center not in ("midpoint", "lower", "upper"):
        raise ValueError(f"Expected center as midpoint, lower or upper, got {center!r}.")
    if averaged not in ("values", "deviations", "trimmed"):
        raise ValueError(f"Expected averaged as values, deviations or trimmed, got {averaged!r}.")
    n, f = len(updates), num_byzantine
    distances = updates.squared_distances()
    if selection == "iterated":
        chosen = updates.select(_iterated_krum(distances, f, n - 2 * f, neighbors, distance_power))
    elif selection == "one-shot":
        ranking = krum_ranking(distances, f, neighbors, power=distance_power)
        chosen = updates.select(ranking[: n - 2 * f])
    elif selection == "multi-krum":
        chosen = updates.mixed(_averages(updates.gram(), f, neighbors, distance_power))
    else:
        raise ValueError(
            f"Expected selection as iterated, one-shot or multi-krum, got {selection!r}."
        )
    theta, parts = len(chosen), []
    if averaged == "values":
        return Aggregate(mean_nearest(chosen, theta - 2 * f, center))
    for _, chunk in chosen.columns(2048):
        values = chunk.sort(0).values
        middle = middle_row(values, center)
        if averaged == "trimmed":
            near = values[f : theta - f]
        else:
            near = nearest_run(values, middle, theta - 2 * f)
        parts.append((-(near - middle).abs() if averaged == "deviations" else near).mean(0))
    return Aggregate(torch.cat(parts))


def _iterated_krum(
    distances: Tensor, f: int, theta: int, neighbors: Neighbors, power: DistancePower
) -> Tensor:
    remaining = torch.arange(len(distances), device=distances.device)
    chosen = []
    for _ in range(theta):
        among = distances[remaining][:, remaining]
        winner = krum_ranking(among, f, neighbors, power=power)[:1]
        chosen.append(remaining.index_select(0, winner))
        others = torch.arange(len(remaining) - 1, device=distances.device)
        remaining = remaining[others + (others >= winner)]
    return torch.cat(chosen)


def _averages(gram: Tensor, f: int, neighbors: Neighbors, power: DistancePower) -> Tensor:
    """``(n - 2f - 2, n)`` averages of ``multi-krum`` as rows of a mixing; one row if n is small."""
    distances, n = geometry.squared_distances(gram), len(gram)
    remaining = torch.arange(n, device=gram.device)
    rows = []
    for turn in range(max(n - 2 * f - 2, 1)):
        among = distances[remaining][:, remaining]
        count = max(min(n - f, n - f - 2 - turn), 1)
        top = remaining[krum_ranking(among, f, neighbors, power=power)[:count]]
        shares = torch.zeros(n, dtype=torch.float64, device=gram.device)
        shares[top] = 1 / len(top)
        rows.append(shares)
        gone = top[geometry.squared_distances_to(gram, shares)[top].argmin()]
        remaining = remaining[remaining != gone]
    return torch.stack(rows)
