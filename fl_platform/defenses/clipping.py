"""Static and adaptive clipping before a rule: one factor per row, no second matrix."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core import Updates
from fl_platform.core.constraints import Above
from fl_platform.core.rule import rule


@rule(label="clipping", tolerates=lambda n: n, shardable=True)
def clipping(
    updates: Updates, num_byzantine: int, *, c: Annotated[float, Above(0)] = 2.0
) -> Tensor:
    r"""Static clipping: rows longer than c are scaled to length c.

    .. math:: y_i = \min\{1, c / \|g_i\|\} g_i

    Args:
        updates: n rows of dimension d.
        num_byzantine: f, from 0 to n; not used.
        c: the length, in units of the updates; 2 is ByzFL's default. No value fits every task.

    Returns:
        ``(n,)`` float64 factors from 0 to 1.

    Guarantees: no kappa with any rule after it. For identical honest rows longer than c the
    aggregate differs from them. Cost: one read of the matrix.

    References:
        Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, Adaptive Gradient Clipping for Robust
        Federated Learning, ICLR 2025 (static clipping).
    """
    return shortening(updates.squared_norms().sqrt(), c)


@rule(label="ARC", tolerates=lambda n: (n - 1) // 2, shardable=True)
def arc(updates: Updates, num_byzantine: int) -> Tensor:
    r"""Adaptive robust clipping: the k longest rows are scaled to the length of the next one.

    .. math:: y_i = \min\{1, \|g_{(k+1)}\| / \|g_i\|\} g_i, \quad
        k = \Big\lfloor \frac{2 f}{n} (n - f) \Big\rfloor, \quad
        \|g_{(1)}\| \ge \dots \ge \|g_{(n)}\|

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; with f = 0 nothing is clipped.

    Returns:
        ``(n,)`` float64 factors from 0 to 1.

    Guarantees, in the paper, that a robust rule after it stays robust: kappa becomes
    kappa + 2f / (n - 2f). k is computed in integers; ByzFL truncates a floating-point product,
    which may be one less. Cost: one read of the matrix.

    References:
        Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, Adaptive Gradient Clipping for Robust
        Federated Learning, ICLR 2025 (ARC).
    """
    n, f = len(updates), num_byzantine
    lengths = updates.squared_norms().sqrt()
    clipped = 2 * f * (n - f) // n
    return shortening(lengths, lengths.sort().values[n - clipped - 1])


def shortening(lengths: Tensor, most: Tensor | float) -> Tensor:
    """Factors that scale rows of these lengths to at most ``most``."""
    return torch.where(lengths > most, most / lengths, 1.0)
