"""RLR: the step is reversed in coordinates in which too few rows agree in sign."""

from __future__ import annotations

from typing import Annotated

import torch

from fl_platform.core import Aggregate, Updates, coordinatewise
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule


@rule(label="RLR", tolerates=lambda n: (n - 1) // 2, shardable=True)
def rlr(
    updates: Updates,
    num_byzantine: int,
    *,
    threshold: Annotated[int, AtLeast(1)] | None = None,
) -> Aggregate:
    r"""The mean, negated where the signs of the rows sum to less than a threshold.

    .. math:: \hat g_k = \begin{cases} \bar g_k & |\sum_i \mathrm{sign}(g_{i,k})| \ge \theta \\
        -\bar g_k & \text{else} \end{cases}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; used by ``threshold: null`` only.
        threshold: theta. ``null`` is f + 1, the least value that f rows alone cannot reach (our
            own; the paper has a number of clients, 4 to 8 of 10 to 40, above f).

    Guarantees: none in the sense of Definition 1. The rule is designed against backdoors, and where
    honest clients disagree the loss rises. No weights. Cost: two reads of the matrix.

    References:
        Ozdayi, Kantarcioglu, Gel, Defending against Backdoors in Federated Learning with Robust
        Learning Rate, AAAI 2021, equation 3.
    """
    least = num_byzantine + 1 if threshold is None else threshold
    every = torch.ones(len(updates), dtype=updates.dtype, device=updates.device)
    agreed = coordinatewise.sign_sums(updates, every).abs_() >= least
    mean = updates.mean()
    return Aggregate(torch.where(agreed, mean, -mean))
