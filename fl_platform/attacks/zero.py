"""Zero: the Byzantine clients send updates of zero."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="Zero", shardable=True)
def zero(honest: Updates, num_byzantine: int) -> Tensor:
    """Rows of zeros: a client that returns the received model unchanged.

    .. math:: g_b = 0

    Args:
        honest: ``(h, d)`` honest updates; only their d, dtype and device are used.
        num_byzantine: f >= 0.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Source: the zero gradient of L. Li et al., "RSA: Byzantine-Robust Stochastic Aggregation
    Methods for Distributed Learning from Heterogeneous Datasets" (2019) in the form of FedML;
    also called the lazy worker. It needs no knowledge.
    """
    check_inputs(honest, num_byzantine)
    nothing = torch.zeros(honest.dimension, dtype=honest.dtype, device=honest.device)
    return equal_rows(nothing, num_byzantine)
