"""Dropout whose masks never change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POSITIONS = 512  # masks; a batch beyond that many samples begins with the first one again


class FixedDropout(nn.Module):
    r"""Dropout with one mask per position in the batch, the same in each step of each client.

    .. math:: y_{j,c} = x_{j,c} \, m_{j \bmod 512,\, c} / (1 - p)

    with :math:`m_{j,c} = 0` with probability p, drawn when the layer is built, from torch's global
    generator. It draws nothing afterwards. In evaluation mode the answer is the input.

    Args:
        p: Chance of a channel (or of a number of a vector) to be dropped, from 0 below 1.
        channels: Size of the second axis of the input ``(B, channels, ...)``.
    """

    def __init__(self, p: float, channels: int) -> None:
        super().__init__()
        self.p = p
        # No buffer: it is no state that a client changes or sends.
        self._masks = {torch.device("cpu"): (torch.rand(POSITIONS, channels) >= p) / (1 - p)}

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` of shape ``(B, channels, ...)`` times the masks."""
        if not self.training:
            return inputs
        masks = self._masks.get(inputs.device)
        if masks is None:
            masks = self._masks.setdefault(
                inputs.device, self._masks[torch.device("cpu")].to(inputs.device)
            )
        size = len(inputs)
        rows = masks[:size] if size <= POSITIONS else masks.repeat(-(-size // POSITIONS), 1)[:size]
        return inputs * rows.to(inputs.dtype).reshape(*rows.shape, *(1,) * (inputs.ndim - 2))

    def extra_repr(self) -> str:
        """The chance, for print."""
        return f"p={self.p}"
