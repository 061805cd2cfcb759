"""FedSECA: signs by weighted vote; magnitudes clipped, clamped and sparsified."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, coordinatewise
from fl_platform.core.constraints import Between
from fl_platform.core.order_statistics import magnitude_quantile
from fl_platform.core.rule import rule
from fl_platform.defenses.norm_bound import middle_value

WIDTH = 4096


@rule(
    label="FedSECA",
    tolerates=lambda n: (n - 1) // 2,
    shardable="takes a quantile over all coordinates of a row",
)
def fed_seca(
    updates: Updates, num_byzantine: int, *, sparsity: Annotated[float, Between(0, 1)] = 0.9
) -> Aggregate:
    r"""For each coordinate, the mean of the sparsified values that have the elected sign.

    .. math:: \omega_{kl} = \tfrac1d \sum_j \mathrm{sgn}(g_{k,j})\,\mathrm{sgn}(g_{l,j})
        \text{ (2)}, \quad \rho_k = \max(0, \tfrac1n \sum_l \mathrm{sgn}(\omega_{kl}))
        \text{ (3)}, \\
        s_j = \mathrm{sgn}(\sum_k \rho_k\, \mathrm{sgn}(g_{k,j})), \quad
        \hat g_j = \operatorname{mean}\{x_{k,j} : s_j x_{k,j} > 0\} \text{ (4)}

    x is g with rows clipped to the median length (5), values clamped to the median magnitude of
    their coordinate after that (6), and set to 0 where :math:`|g_{k,j}|` is not above the
    ``sparsity`` quantile of row k (7). A coordinate without remaining values is 0.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; not used.
        sparsity: gamma, 0.9 in the paper.

    Guarantees: none in the sense of Definition 1. By default nine tenths of each row are dropped,
    so for identical rows the aggregate differs from them. No weights. Cost: five reads of the
    matrix, and a sorting network of each column.

    References:
        Benjamin, Asokan, Yaqub, Nandakumar, FedSECA: Sign Election and Coordinate-wise
        Aggregation of Gradients for Byzantine Tolerant Federated Learning, CVPR 2025.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"Expected sparsity from 0 to 1, got {sparsity}.")
    lengths = updates.squared_norms().sqrt()
    usual = middle_value(lengths)
    scales = torch.where(lengths > usual, usual / lengths, 1.0).to(updates.dtype)[:, None]
    rows = updates.rows() or updates.matrix
    floors = torch.stack([magnitude_quantile(row, sparsity) for row in rows])[:, None]
    signs = coordinatewise.sign_sums(updates, concordance(updates)).sign_()
    parts, entries = [], len(updates) * updates.dimension
    for part, chunk in updates.columns(WIDTH):
        sizes = chunk.abs()
        agrees = (sizes > floors) & (chunk * signs[part] > 0)
        sizes *= scales
        torch.minimum(sizes, coordinatewise.middle_of(sizes, entries), out=sizes)
        agrees &= sizes > 0
        total = torch.where(agrees, sizes, 0.0).sum(0)
        parts.append(signs[part] * total / agrees.sum(0).clamp_min(1))
    return Aggregate(torch.cat(parts))


def concordance(updates: Updates) -> Tensor:
    """``(n,)`` float64 n rho: number of rows that agree in most signs, minus that of the others."""
    n = len(updates)
    agreed = torch.zeros(n, n, dtype=torch.float64, device=updates.device)
    for _, chunk in updates.columns(WIDTH):  # integers up to 4096: exact in float32
        signs = chunk.sign()
        agreed += signs @ signs.T
    return agreed.sign().sum(1).clamp_min(0)
