"""Bulyan: rows chosen by Krum, then a trimmed mean about their median."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule
from fl_platform.defenses.krum import DistancePower, Neighbors, krum_ranking
from fl_platform.defenses.median import MedianKind
from fl_platform.defenses.tolerance import tolerates


@rule
@tolerates(lambda n: (n - 3) // 4)
def bulyan(
    updates: Updates,
    num_byzantine: int,
    *,
    selection: Literal["iterated", "one-shot"] = "iterated",
    neighbors: Neighbors = "n-f-2",
    distance_power: DistancePower = 2,
    center: MedianKind = "midpoint",
    averaged: Literal["values", "deviations"] = "values",
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
            FL-Byz-Lib).
        neighbors: as in :func:`krum`.
        distance_power: as in :func:`krum`; the STRIKE authors' code has 1 here.
        center: the median when theta is even, as in :func:`median`.
        averaged: ``values``; or ``deviations``, which averages ``-|g - med|`` in place of g: a
            fault of the STRIKE authors' code (minus, because its updates are ``w_i - w``), kept
            to compare with what it computes.

    Guarantees, in the paper, that no coordinate is far from an honest value; a published kappa is
    not known to us.

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
    if center not in ("midpoint", "lower", "upper") or averaged not in ("values", "deviations"):
        raise ValueError(
            "Expected center as midpoint, lower or upper and averaged as values or deviations,"
            f" got {center!r} and {averaged!r}."
        )
    n, f = len(updates), num_byzantine
    theta, beta = n - 2 * f, n - 4 * f
    distances = updates.squared_distances()
    if selection == "iterated":
        rows = _iterated_krum(distances, f, theta, neighbors, distance_power)
    elif selection == "one-shot":
        rows = krum_ranking(distances, f, neighbors, power=distance_power)[:theta]
    else:
        raise ValueError(f"Expected selection as iterated or one-shot, got {selection!r}.")
    parts = []
    for _, chunk in updates.select(rows).columns(2048):
        values = chunk.sort(0).values
        low, high = values[(theta - 1) // 2], values[theta // 2]
        middle = {"lower": low, "upper": high, "midpoint": low + (high - low) / 2}[center]
        near = _nearest_run(values, middle, beta)
        parts.append((near if averaged == "values" else -(near - middle).abs()).mean(0))
    return Aggregate(torch.cat(parts))


def _nearest_run(values: Tensor, middle: Tensor, beta: int) -> Tensor:
    """``(beta, d)`` of each column's ascending values those nearest ``middle``: a run of them.

    The k-th lowest is left out when the (beta + k)-th is nearer; once that is false for a k it
    stays so, and counting gives where the run starts. Equally near values: the lower ones stay.
    """
    drop = len(values) - beta
    too_low = middle - values[:drop] > values[beta:] - middle
    start = too_low.sum(0, keepdim=True)
    return values.gather(0, start + torch.arange(beta, device=values.device)[:, None])


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
