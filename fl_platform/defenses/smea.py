"""SMEA: the mean of the n - f rows whose covariance has the least top eigenvalue."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule

BATCH = 4096  # subsets whose eigenvalues are computed in one call


@rule(label="SMEA", tolerates=lambda n: (n - 1) // 2, shardable=True)
def smea(
    updates: Updates,
    num_byzantine: int,
    *,
    max_subsets: Annotated[int, AtLeast(1)] = 200_000,
) -> Aggregate:
    r"""The mean of the subset of n - f rows of smallest maximum eigenvalue.

    .. math:: S = \arg\min_{|S| = n - f} \lambda_{\max}\left(\frac{1}{n - f} \sum_{i \in S}
        (g_i - \bar g_S)(g_i - \bar g_S)^\top\right), \quad \hat g = \bar g_S

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2. Of equal subsets the first in lexicographic order is taken.
        max_subsets: limit of C(n, f), above which the call is refused; all subsets are tried.

    Raises:
        ValueError: too many subsets; the message contains the number.

    Eigenvalues are exact, from the n x n Gram matrix, so equal rows give equal bits. ByzFL
    0.0.11 takes one power step from a vector drawn without a seed, and its subset differs between
    calls.

    Guarantees, in the paper, the least error of any rule in terms of the top eigenvalue of the
    honest covariance, which is sharper than the trace in Definition 1; no kappa is stated
    here. Cost: one read given the Gram.

    References:
        Allouah, Guerraoui, Gupta, Pinot, Stephan, On the Privacy-Robustness-Utility Trilemma in
        Distributed Learning, ICML 2023 (SMEA).
    """
    n, f = len(updates), num_byzantine
    if math.comb(n, f) > max_subsets:
        raise ValueError(
            f"Expected at most max_subsets={max_subsets:,} subsets for smea, got"
            f" {math.comb(n, f):,} for n={n} and f={f}; raise max_subsets, lower f, or use caf."
        )
    weights = torch.zeros(n, dtype=torch.float64, device=updates.device)
    chosen = least_eigenvalue_subset(updates.gram().cpu(), f) if f else torch.arange(n)
    weights[chosen.to(updates.device)] = 1 / (n - f)
    return Aggregate(updates.combine(weights), weights)


def least_eigenvalue_subset(gram: Tensor, f: int) -> Tensor:
    """``(n - f,)`` sorted indices of the subset described in :func:`smea`."""
    n = len(gram)
    best, least = torch.arange(n - f), torch.inf
    subsets = itertools.combinations(range(n), n - f)
    while batch := list(itertools.islice(subsets, BATCH)):
        index = torch.tensor(batch)
        block = gram[index[:, :, None], index[:, None, :]]
        means = block.mean(2)
        centred = block - means[:, :, None] - means[:, None, :] + block.mean((1, 2))[:, None, None]
        tops = torch.linalg.eigvalsh(centred)[:, -1]
        # Subsets whose values differ only by rounding count as equal: the first is taken.
        first = int((tops <= tops.min() * (1 + 1e-12)).nonzero()[0])
        if float(tops[first]) < least * (1 - 1e-12):
            best, least = index[first], float(tops[first])
    return best
