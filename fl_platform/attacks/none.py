"""No attack: all n clients train honestly, and the defense still assumes f."""

from __future__ import annotations

from torch import Tensor

from fl_platform.attacks.rows import check_vector
from fl_platform.core.rule import rule


@rule(label="No attack", shardable=True)
def none(update: Tensor) -> Tensor:
    """The client's own update, unchanged: the cost of a defense without an attack.

    .. math:: g_b = w^t - w_b^{t+1} \\quad\\text{(eq. 2)}

    Args:
        update: ``(d,)`` floating point.

    Returns:
        ``(d,)``, the same tensor.

    Raises:
        ValueError: ``update`` is not of shape ``(d,)``.

    Source: the price of robustness as in Y. Allouah et al., "Fixing by Mixing: A Recipe for
    Optimal Byzantine ML under Heterogeneity" (2023), which also runs the defenses with f > 0
    and no attack. The official STRIKE code has no such mode.

    Example:
        >>> import torch
        >>> from fl_platform.attacks import none
        >>> none(torch.tensor([1.0, -2.0])).tolist()
        [1.0, -2.0]
    """
    check_vector(update)
    return update
