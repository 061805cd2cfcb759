"""Distances from the rows to one point that need not be a row."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Updates


def squared_distances_to(updates: Updates, point: Tensor) -> Tensor:
    """``(n,)`` float64 ``||g_i - point||^2``, one pass over the matrix.

    Args:
        updates: n rows of dimension d.
        point: ``(d,)``.
    """
    total = torch.zeros(len(updates), dtype=torch.float64, device=point.device)
    for part, chunk in updates.columns():
        # Subtract first, square in float64: neither cancellation nor overflow.
        total += (chunk - point[part]).double().square().sum(1)
    return total


def squared_distances_within(inner_products: Tensor, weights: Tensor) -> Tensor:
    r"""``(n,)`` :math:`\|g_i - \sum_j w_j g_j\|^2` from inner products alone, without the rows.

    Args:
        inner_products: ``(n, n)`` about any common point c.
        weights: ``(n,)``; where they do not sum to 1, c takes the rest.
    """
    reached = inner_products @ weights
    squares = inner_products.diagonal() - 2 * reached + weights @ reached
    return squares.clamp_min(0)
