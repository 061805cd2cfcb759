"""MoNNA: the mean of the rows nearest to a trusted vector."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.defenses.references import check_reference


@rule(label="MoNNA", tolerates=lambda n: (n - 1) // 2, shardable=True)
def monna(
    updates: Updates,
    num_byzantine: int,
    reference: Tensor | None = None,
    *,
    pivot: Literal["reference"] | Annotated[int, AtLeast(0)] = 0,
) -> Aggregate:
    r"""The mean of the n - f rows nearest to a pivot, ties to the first.

    .. math:: \hat g = \frac{1}{n - f} \sum_{i \in N} g_i, \quad
        N = \text{the } n - f \text{ least } \|g_i - p\|

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2.
        reference: ``(d,)`` the server's own update; required by ``pivot: reference``.
        pivot: p. The rule is designed for peers without a server, where each peer trusts its own
            vector. ``reference`` is the closest equivalent on a server. A number selects that row
            (ByzFL's ``idx``, 0 by default): the rows of a run arrive in random order, so it is
            Byzantine in f of n rounds, without any guarantee.

    Raises:
        ValueError: no such row, or no reference with ``pivot: reference``.

    Guarantees, in the paper, convergence with f < n / 5 of n peers; no kappa for one call, since
    a Byzantine pivot determines its neighbours. Cost: two reads of the matrix.

    References:
        Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, Robust Collaborative Learning with
        Linear Gradient Overhead, ICML 2023 (NNA).
    """
    n = len(updates)
    if pivot == "reference":
        point = check_reference(updates, reference, "monna with pivot=reference")
    elif isinstance(pivot, int) and 0 <= pivot < n:
        only = torch.zeros(n, dtype=torch.float64, device=updates.device)
        only[pivot] = 1.0
        point = updates.combine(only)
    else:
        raise ValueError(f"Expected pivot as reference or a row below {n}, got {pivot!r}.")
    squares = updates.squared_distances_to(point)
    weights = torch.zeros_like(squares)
    weights[squares.argsort(stable=True)[: n - num_byzantine]] = 1 / (n - num_byzantine)
    return Aggregate(updates.combine(weights), weights)
