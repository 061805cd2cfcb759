"""How large a model is."""

from __future__ import annotations

from torch import nn


def num_parameters(model: nn.Module) -> int:
    """d, the number of trainable coordinates; running statistics are not counted."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
