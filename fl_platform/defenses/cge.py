"""Comparative gradient elimination: the n - f shortest rows."""

from __future__ import annotations

from typing import Literal

import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule


@rule(label="CGE", tolerates=lambda n: (n - 1) // 2, shardable=True)
def cge(
    updates: Updates, num_byzantine: int, *, average: Literal["mean", "sum"] = "mean"
) -> Aggregate:
    r"""The mean of the n - f rows of least length, ties to the first.

    .. math:: \|g_{(1)}\| \le \ldots \le \|g_{(n)}\|, \quad
        \hat g = \frac{1}{n - f} \sum_{i=1}^{n-f} g_{(i)}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2.
        average: ``mean`` (ByzPy, ByzantineMomentum) or ``sum``, the paper's filter, whose step
            size contains the factor 1 / (n - f).

    Guarantees: no known kappa. The paper requires f / n below a constant of the losses (strong
    convexity over smoothness). Short Byzantine rows are never removed.
    Cost: two reads of the matrix.

    References:
        Gupta, Liu, Vaidya, Byzantine Fault-Tolerance in Decentralized Optimization under
        Minimal Redundancy, ACC 2021 (CGE); Gupta and Vaidya, 2019.
    """
    if average not in ("mean", "sum"):
        raise ValueError(f"Expected average as mean or sum, got {average!r}.")
    kept = len(updates) - num_byzantine
    squares = updates.squared_norms()
    weights = torch.zeros_like(squares)
    weights[squares.argsort(stable=True)[:kept]] = 1 / kept if average == "mean" else 1.0
    return Aggregate(updates.combine(weights), weights, float(1 - weights.sum()))
