"""Inf: rows of infinities, which the input check must remove."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="Inf", shardable=True)
def inf(honest: Updates, num_byzantine: int) -> Tensor:
    """Rows whose every coordinate is plus infinity.

    .. math:: (g_b)_k = \\infty

    Args:
        honest: ``(h, d)`` honest updates; only their d, dtype and device are used.
        num_byzantine: f >= 0.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Source: the failure of a client as in ByzFL (``Inf``); no paper. The input check before a
    defense drops such rows, so a run measures the cost of dropping them.
    """
    check_inputs(honest, num_byzantine)
    value = torch.full((honest.dimension,), torch.inf, dtype=honest.dtype, device=honest.device)
    return equal_rows(value, num_byzantine)
