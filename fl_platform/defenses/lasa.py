"""LASA: in each layer, the mean of the rows of usual length and usual share of signs."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import Above, Between
from fl_platform.core.order_statistics import magnitudes_of_ranks
from fl_platform.core.rule import rule
from fl_platform.defenses.norm_bound import middle_value


@rule(
    label="LASA",
    tolerates=lambda n: (n - 1) // 2,
    shardable="uses whole layers and a quantile over all coordinates of a row",
)
def lasa(
    updates: Updates,
    num_byzantine: int,
    layers: tuple[int, ...] | None = None,
    *,
    sparsity: Annotated[float, Between(0, 1)] = 0.3,
    norm_bound: Annotated[float, Above(0)] = 2.0,
    sign_bound: Annotated[float, Above(0)] = 1.0,
) -> Aggregate:
    r"""Layer-adaptive sparsified aggregation: per layer, the mean of the rows that pass two tests.

    Rows are clipped to the (lower) median length; a copy of each keeps the largest
    ``1 - sparsity`` of its magnitudes. In every layer the length and the share of positive
    signs of the copy are compared with those of the others,

    .. math:: \frac{|x_i - \operatorname{med} x|}{\operatorname{std} x} < \lambda, \quad
        p_i = \tfrac12 \left(1 + (1 - \text{sparsity}) \frac{\sum_k \mathrm{sgn}}{\sum_k
        |\mathrm{sgn}|}\right)

    and the clipped rows that pass both are averaged; all of them if none passes.

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; not used.
        layers: number of coordinates of each layer, in order, with sum d; without it the whole
            vector is one layer. In a run each parameter tensor is a layer.
        sparsity: 0.3 in the authors' code, which sparsifies matrices and kernels but not biases;
            here all coordinates are sparsified together.
        norm_bound: lambda for the length, 1 or 2 in the authors' code.
        sign_bound: lambda for the signs, 1 in the authors' code.

    Guarantees, in the paper, a kappa for its own definition of robustness and the share of
    benign layers that pass; we know of no constant in the sense of Definition 1. No weights:
    each layer has its own. Cost: three reads of the matrix and a selection in each row.

    References:
        Xu, Zhang, Hu, Achieving Byzantine-Resilient Federated Learning via Layer-Adaptive
        Sparsified Model Aggregation, WACV 2025, Algorithm 1.
    """
    widths = (updates.dimension,) if layers is None else tuple(layers)
    if sum(widths) != updates.dimension or min(widths) < 1:
        raise ValueError(
            f"Expected layers of sizes >= 1 with sum {updates.dimension}, got {widths}."
        )
    lengths = updates.squared_norms().sqrt()
    usual = lengths.sort().values[(len(lengths) - 1) // 2]
    scales = torch.where(lengths > usual, usual / lengths, 1.0).to(updates.dtype)[:, None]
    matrix = updates.matrix
    drop = updates.dimension - int(updates.dimension * (1 - sparsity))
    floors = [
        magnitudes_of_ranks(row, drop - 1)[0] if drop else row.new_tensor(-1.0) for row in matrix
    ]
    floor = torch.stack(floors)[:, None]
    parts, start = [], 0
    for width in widths:
        rows = matrix[:, start : start + width]
        start += width
        parts.append((rows * scales)[_usual(rows, floor, scales, sparsity, norm_bound, sign_bound)])
    return Aggregate(torch.cat([part.mean(0) for part in parts]))


def _usual(
    rows: Tensor, floor: Tensor, scales: Tensor, sparsity: float, norms: float, signs: float
) -> Tensor:
    """``(n,)`` mask of the rows that pass both tests in one layer; all if none passes."""
    thin = torch.where(rows.abs() > floor, rows * scales, 0.0).double()
    sign = thin.sign()
    some = sign.abs().sum(1)
    share = torch.where(some > 0, sign.sum(1) / some.clamp_min(1), 0.0)
    purity = (1 + (1 - sparsity) * share) / 2
    passed = (deviations(thin.norm(dim=1)) < norms) & (deviations(purity) < signs)
    return passed if bool(passed.any()) else torch.ones_like(passed)


def deviations(values: Tensor) -> Tensor:
    """``|x - median| / standard deviation``; 0 if all are equal."""
    spread = values.std(correction=0)
    away = (values - middle_value(values)).abs()
    return away / spread if spread > 0 else torch.zeros_like(away)
