"""CAF: weight is removed along the main direction of variance until 2f of it is removed."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule

SLOW = 0.01  # a step that removes a smaller share of the weight is scaled by the rows with weight


@rule(label="CAF", tolerates=lambda n: (n - 1) // 2, shardable=True)
def caf(updates: Updates, num_byzantine: int) -> Aggregate:
    r"""The covariance-bound agnostic filter: the tried weighted mean of least spread.

    Starting from c_i = 1, while the sum of c is above n - 2f,

    .. math:: \mu_c = \frac{\sum_i c_i g_i}{\sum_i c_i}, \quad
        (\lambda, v) = \text{top eigenpair of } \frac{\sum_i c_i (g_i - \mu_c)(g_i - \mu_c)^\top}
        {\sum_i c_i}, \quad
        c_i \leftarrow c_i \left(1 - \frac{\tau_i}{\max_j \tau_j}\right), \quad
        \tau_i = \langle g_i - \mu_c, v\rangle^2

    and the aggregate is the mu_c of least lambda.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; with f = 0 the aggregate is the mean.

    The maximum is over all rows. One far row without weight can thus prevent the removal of other
    weight, and the loop may not end; where a step would remove less than a hundredth of the
    weight, the maximum is over the rows that have weight (our addition).

    The eigenpair is exact, from the n x n Gram matrix, so equal rows give equal bits. ByzFL
    0.0.11 takes one power step from a vector drawn without a seed: its results for one input
    differ by 45 % between calls; with 500 steps they equal ours.

    Guarantees, in the paper, an error of the order of f / n times the top eigenvalue of the
    honest covariance, which is sharper than the trace in Definition 1; no kappa is stated
    here. Cost: one read given the Gram.

    References:
        Allouah, Guerraoui, Stephan, Towards Trustworthy Federated Learning with Untrusted
        Participants, ICML 2025 (CAF).
    """
    n, f = len(updates), num_byzantine
    weights = torch.full((n,), 1 / n, dtype=torch.float64, device=updates.device)
    if f:
        weights = least_spread_weights(updates.gram(), n - 2 * f)
    return Aggregate(updates.combine(weights), weights)


def least_spread_weights(gram: Tensor, enough: float) -> Tensor:
    """``(n,)`` weights that sum to 1, as described in :func:`caf`.

    Args:
        gram: ``(n, n)`` float64 inner products about any common point.
        enough: the filter ends when the remaining weight is at most this.
    """
    left = torch.ones(len(gram), dtype=torch.float64, device=gram.device)
    best, least = left / len(gram), torch.inf
    while left.sum() > enough:
        shares = left / left.sum()
        centred = centred_gram(gram, shares)
        root = shares.sqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * centred * root)
        if float(values[-1]) < least:
            best, least = shares, float(values[-1])
        scores = (centred @ (root * vectors[:, -1])).square()  # tau up to a common factor
        if not bool((scores * left).sum() > 0):
            break  # the remaining rows agree: no weight is removed any more
        after = left * (1 - scores / scores.max())
        if after.sum() > (1 - SLOW) * left.sum():  # a row without weight has the maximum
            after = left * (1 - scores / scores[left > 0].max()).clamp_min(0)
        left = after
    return best


def centred_gram(gram: Tensor, shares: Tensor) -> Tensor:
    """Inner products about the point ``shares @ rows``, for shares that sum to 1."""
    towards = gram @ shares
    return gram - towards[:, None] - towards[None, :] + shares @ towards
