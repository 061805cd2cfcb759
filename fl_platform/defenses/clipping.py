"""Rows clipped or scaled to one length before a rule: one factor per row, no second matrix."""

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
        k = \left\lfloor \frac{2 f}{n} (n - f) \right\rfloor, \quad
        \|g_{(1)}\| \ge \ldots \ge \|g_{(n)}\|

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


@rule(label="unit rows", tolerates=lambda n: (n - 1) // 2, shardable=True)
def unit_rows(updates: Updates, num_byzantine: int) -> Tensor:
    r"""All rows at one length, the median of the lengths received.

    .. math:: u_i = \frac{\tau}{\|g_i\|} g_i, \quad \tau = \operatorname{med}_j \|g_j\|

    Short rows cannot hide near the mean, long ones cannot pull further than others. For an even
    number of rows tau is the lower of the two middle lengths. A zero row, or one shorter than
    1e-12 tau, stays as it is.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2, so that tau lies between two honest lengths; not looked at.

    Returns:
        ``(n,)`` float64 factors >= 0, above 1 for short rows.

    Guarantees that a rule with a finite kappa after it keeps one (ours):

    .. math:: \kappa' = \left(\sqrt\kappa + (1 + \sqrt\kappa) \sqrt c\right)^2, \quad
        c = 1 + \frac{n - f}{\lceil n / 2 \rceil - f}

    because ceil(n / 2) - f honest lengths lie on either side of tau, hence
    (tau - mean)^2 <= (c - 1) var for the honest lengths, whose variance is at most that of the
    honest rows; so the honest u_i are within sqrt(c) sigma of the g_i in root mean square. Alone
    it bounds the influence of each row by tau, which no Byzantine row can move beyond the
    honest lengths. Cost: one read of the matrix; the Gram is scaled, not formed again.

    References:
        Normalised rows before an aggregate: Turan, Uribe, Wai, Alizadeh, Robust Distributed
        Optimization With Randomly Corrupted Gradients, IEEE TSP 2022. The median as their length
        and the bound are ours.
    """
    lengths = updates.squared_norms().sqrt()
    most = lengths.sort().values[(len(updates) - 1) // 2]
    return torch.where(lengths > 1e-12 * most, most / lengths.clamp_min(1e-300), 1.0)


def shortening(lengths: Tensor, most: Tensor | float) -> Tensor:
    """Factors that scale rows of these lengths to at most ``most``."""
    return torch.where(lengths > most, most / lengths, 1.0)
