"""Fang's attack on Krum: the largest step against the honest mean that Krum still selects."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.attacks.directions import along
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import Above
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates
from fl_platform.metrics.spread import offsets_sq


@rule(label="Fang, Krum", shardable=True)
def fang_krum(
    honest: Updates,
    num_byzantine: int,
    *,
    start: Literal["model", "mean"] = "model",
    tolerance: Annotated[float, Above(0)] = 1e-5,
) -> Tensor:
    """The largest step, by halving, that Krum still selects.

    .. math::
        g_b = c - \\lambda\\,\\mathrm{sign}(\\bar g),\\quad
        \\lambda_0 = \\frac{1}{\\sqrt d}\\left(\\frac{\\min_i \\sum_{l \\in \\Gamma_i}
        \\lVert g_l - g_i\\rVert}{n - 2f - 1} + \\max_i\\lVert g_i - c\\rVert\\right)

    Args:
        honest: ``(h, d)`` honest updates, h + f = n.
        num_byzantine: f >= 0, also the f that Krum assumes.
        start: c is the ``model`` of the round (zero as an update; the paper) or the honest
            ``mean`` (NDSS21's re-implementation).
        tolerance: the lambda below which the search ends, above 0.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: M. Fang, X. Cao, J. Jia, N. Gong, "Local Model Poisoning Attacks to
    Byzantine-Robust Federated Learning" (2020), full knowledge, all f rows equal (their
    epsilon = 0). The paper states it for models: with ``g = w - w_i`` a model moved by
    -lambda s, s the sign of its honest change, is an update of -lambda sign(mean). Krum is not
    run but computed: the distances of the crafted row to the honest ones are quadratics in
    lambda, so a probe costs O(h^2) and no pass. Where n - 2f - 1 < 1 the divisor is 1.
    """
    check_inputs(honest, num_byzantine)
    if start not in ("model", "mean"):
        raise ValueError(f"Expected start model or mean, got {start!r}.")
    mean = honest.mean()
    centre = mean if start == "mean" else torch.zeros_like(mean)
    if num_byzantine == 0:
        return equal_rows(centre, 0)
    direction = -mean.sign()
    direction_sq = honest.dot(direction, direction)
    # |g - 0|^2 from |g - mean|^2, <mean - g, mean> and |mean|^2: no length is computed uncentred.
    from_centre = offsets_sq(honest)
    if start == "model":
        mean_sq = honest.dot(mean, mean)
        from_centre = from_centre - 2 * along(honest, mean, mean) + mean_sq
    from_centre = from_centre.clamp_min(0).cpu()
    inner = along(honest, centre, direction).cpu()
    between = honest.squared_distances().cpu()

    def selected(step: float) -> bool:
        crafted = (from_centre + 2 * step * inner + step * step * direction_sq).clamp_min(0)
        return krum_prefers(crafted, between, num_byzantine)

    dimension = round(float(honest.dot(torch.ones_like(direction), torch.ones_like(direction))))
    step = first_step(from_centre, between, num_byzantine, dimension)
    step = step if math.isfinite(step) else 0.0  # else halving never ends
    while step >= tolerance and not selected(step):
        step /= 2
    return equal_rows(centre + step * direction, num_byzantine)


def first_step(from_centre: Tensor, between: Tensor, num_byzantine: int, dimension: int) -> float:
    """lambda_0, the paper's upper bound of the strengths that Krum selects."""
    rows = len(between)
    nearest = max(rows - 2, 0)  # n - f - 2 neighbours among the honest
    near = between.sqrt().sort(1).values[:, 1 : 1 + nearest].sum(1).min()
    divisor = max(rows - num_byzantine - 1, 1)
    return float(near / divisor + from_centre.sqrt().max()) / math.sqrt(dimension)


def krum_prefers(crafted: Tensor, between: Tensor, num_byzantine: int) -> bool:
    """True if Krum with n - f - 2 neighbours scores f equal rows below every honest row.

    ``crafted``: ``(h,)`` squared distances of the crafted row to the honest rows; ``between``:
    ``(h, h)`` squared distances of the honest rows.
    """
    rows = len(between)
    neighbours = max(rows - 2, 1)
    twins = crafted.new_zeros(num_byzantine - 1)
    own = torch.cat([twins, crafted]).sort().values[:neighbours].sum()
    others = torch.cat([between, crafted[:, None].expand(-1, num_byzantine)], 1)
    # The first of the sorted is the row itself, at distance 0.
    honest = others.sort(1).values[:, 1 : 1 + neighbours].sum(1)
    return bool(own < honest.min())
