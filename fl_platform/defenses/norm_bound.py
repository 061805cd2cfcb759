"""Norm bounding: the mean of rows that are clipped to a common length."""

from __future__ import annotations

from typing import Annotated

import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.constraints import Above
from fl_platform.core.rule import rule


@rule(
    label="norm bound",
    tolerates=lambda n: (n - 1) // 2,
    kappa=lambda n, f, **parameters: float("inf") if f else None,
    shardable=True,
)
def norm_bound(
    updates: Updates, num_byzantine: int, *, bound: Annotated[float, Above(0)] | None = None
) -> Aggregate:
    r"""The mean of the rows, each at most M long.

    .. math:: \hat g = \frac1n \sum_i \frac{g_i}{\max(1, \|g_i\| / M)}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; not used, but the median length requires this minority.
        bound: M. ``null`` is the median length of the round's rows, which fits every task; a
            number as in the paper, whose values (2 to 5) fit its tasks only.

    The paper adds Gaussian noise against backdoors; the mixing ``clipping`` with any rule, and
    noise apart, is the same step.

    Guarantees that f rows move the aggregate by at most f M / n, but no kappa: for identical
    honest rows longer than M the aggregate differs from them. Cost: two reads of the matrix.

    References:
        Sun, Kairouz, Suresh, McMahan, Can You Really Backdoor Federated Learning?, 2019.
    """
    lengths = updates.squared_norms().sqrt()
    most = middle_value(lengths) if bound is None else lengths.new_tensor(bound)
    weights = torch.where(lengths > most, most / lengths, 1.0) / len(updates)
    return Aggregate(updates.combine(weights), weights, float(1 - weights.sum()))


def middle_value(values: torch.Tensor) -> torch.Tensor:
    """The median of ``(n,)`` numbers, the midpoint for even n; deterministic on every device."""
    ordered = values.sort().values
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    return low + (high - low) / 2
