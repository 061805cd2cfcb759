"""IPM: a small step against the honest mean, so that the loss rises along the aggregate."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="IPM", shardable=True)
def ipm(
    honest: Updates, num_byzantine: int, *, scale: Annotated[float, AtLeast(0)] = 0.1
) -> Tensor:
    """The negated honest mean times a scale: inner product manipulation.

    .. math:: g_b = -\\epsilon\\, \\bar g

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        scale: epsilon >= 0; 0.1 lies within the honest spread, 1 is the negated mean.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Source: C. Xie, O. Koyejo, I. Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by
    Inner Product Manipulation" (2020). The official STRIKE code has 0.1, ByzFL 2.0, Blades and
    ByzPy 1.0; ByzantineMomentum writes epsilon 0.1 as factor 1.1.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import ipm
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> ipm(honest, 2, scale=0.5).tolist()
        [[-1.0, -0.5], [-1.0, -0.5]]
    """
    check_inputs(honest, num_byzantine)
    return equal_rows(-scale * honest.mean(), num_byzantine)
