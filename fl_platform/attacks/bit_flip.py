"""BitFlip: a Byzantine client trains honestly and sends the opposite of its update."""

from __future__ import annotations

from torch import Tensor

from fl_platform.attacks.rows import check_vector
from fl_platform.core.rule import rule


@rule(label="BitFlip", shardable=True)
def bit_flip(update: Tensor) -> Tensor:
    """The negated update of the client itself.

    .. math:: g_b = -(w^t - w_b^{t+1})

    Args:
        update: ``(d,)`` floating point, the honest update of this client.

    Returns:
        ``(d,)``, a new tensor.

    Raises:
        ValueError: ``update`` is not of shape ``(d,)``.

    Source: BitFlip of the STRIKE paper (Y. Liu et al., "Exploit Gradient Skewness to
    Circumvent Byzantine Defenses for Federated Learning", 2025) after Z. Allen-Zhu et al.,
    "Byzantine-Resilient Non-Convex Stochastic Gradient Descent" (2020); elsewhere called
    sign flip. As in the official code, every Byzantine client negates its *own*
    update; ByzFL's SignFlipping sends the negated honest mean instead (that is
    ``ipm`` with ``scale=1``), and Blades flips the gradient inside every local step.

    Example:
        >>> import torch
        >>> from fl_platform.attacks import bit_flip
        >>> bit_flip(torch.tensor([1.0, -2.0])).tolist()
        [-1.0, 2.0]
    """
    check_vector(update)
    return -update
