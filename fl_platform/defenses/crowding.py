"""Crowding: a row counts the less, the more rows point the same way."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import AtLeast
from fl_platform.core.geometry import leading
from fl_platform.core.rule import rule


@rule(
    label="crowding",
    tolerates=lambda n: (n - 1) // 2,
    kappa=lambda n, f, **parameters: math.inf,
    shardable=True,
)
def crowding(
    updates: Updates, num_byzantine: int, *, power: Annotated[float, AtLeast(0)] = 1.0
) -> Aggregate:
    r"""The mean of rows weighted by how few others are like them, after one spectral removal.

    .. math:: w_i \propto \left(\sum_{j \ne i} \max(0, \cos(g_i, g_j))^2 + 1\right)^{-p}

    over the rows that are left once the f rows with the largest squared projection on the top
    eigenvector of the centred, equally weighted rows are removed (as DnC removes them). f equal
    colluders that escape the removal weigh as much as one and a half to three honest rows, not f.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; with f = 0 no row is removed.
        power: p; 0 is the plain mean of the rows that are left.

    Guarantees no finite kappa: honest rows of which all but one are equal are not answered with
    their mean, and colluders orthogonal to each other and to honest rows have the largest
    weights. Cost: one read given the Gram, one for the lengths.

    References:
        Fung, Yoon, Beschastnikh, The Limitations of Federated Learning in Sybil Settings, RAID
        2020 (FoolsGold, which weights by the largest similarity over all rounds; the sum within
        a round and the removal are ours).
    """
    n = len(updates)
    gram = updates.gram()
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    _, along, _ = leading(centred)
    kept = along.square().argsort(stable=True)[: n - num_byzantine]
    squares = updates.squared_norms()
    lengths = squares.sqrt()
    inner = (squares[:, None] + squares[None, :] - updates.squared_distances()) / 2
    scale = lengths[:, None] * lengths[None, :]
    cosines = torch.where(scale > 0, inner / scale.clamp_min(1e-300), 0.0).clamp(0, 1)
    alike = cosines.square().fill_diagonal_(0)[kept][:, kept].sum(1)
    weights = torch.zeros(n, dtype=torch.float64, device=updates.device)
    weights[kept] = (alike + 1).pow(-power)
    weights /= weights.sum()
    return Aggregate(updates.combine(weights), weights)
