"""Absent: the Byzantine clients send nothing, and the defense works on the honest rows."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.attacks.rows import check_inputs
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="Absent", shardable=True)
def absent(honest: Updates, num_byzantine: int) -> Tensor:
    r"""No rows: the cost of losing the data of f clients, without an attack.

    .. math:: m = n - f \text{ rows are received, and } f \text{ is assumed as before}

    Args:
        honest: ``(h, d)`` honest updates; only their d, dtype and device are used.
        num_byzantine: f >= 0, the number of clients that send nothing.

    Returns:
        ``(0, d)``.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Source: the crash fault of L. Lamport, R. Shostak, M. Pease, "The Byzantine Generals
    Problem" (1982), as the weakest of the Byzantine behaviours; a control, not an attack.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import absent
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> absent(honest, 2).shape
        torch.Size([0, 2])
    """
    check_inputs(honest, num_byzantine)
    return torch.empty((0, honest.dimension), dtype=honest.dtype, device=honest.device)
