"""How large a model is, and how much work an image is to it."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def num_parameters(model: nn.Module) -> int:
    """d, the number of trainable coordinates; running statistics are not counted."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def flops_per_image(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[float, float]:
    """Floating-point operations of one image: of a forward pass, and of a training step.

    A multiply-add is two. Products of matrices and convolutions are counted from their shapes
    by torch's own counter over a copy without storage; the rest, some percent, is not.
    The small AlexNet has 29.9 and 86.8 million on CIFAR-10's images.

    Args:
        model: from images to outputs; any device, never touched.
        image_shape: channels, height, width.
    """
    twin = copy.deepcopy(model).to("meta").train()
    images = torch.empty(2, *image_shape, device="meta")  # two: batch normalisation wants more
    with FlopCounterMode(display=False) as forward:
        outputs = twin(images)
    with FlopCounterMode(display=False) as backward:
        outputs.sum().backward()
    once = forward.get_total_flops() / 2
    return once, once + backward.get_total_flops() / 2
