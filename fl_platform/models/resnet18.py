"""torchvision's ResNet-18 from random weights, the paper's network for ImageNet-12."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import nn

GROUPS = 32


def resnet18(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    norm: Literal["batch", "group"] = "batch",
) -> nn.Module:
    """ResNet-18; 11,182,668 parameters for 12 classes, with either normalisation.

    Batch normalisation (the paper's) keeps running statistics beside the parameters, 9,620
    numbers that a federated run must decide about (``task.state``). Group normalisation has none.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; three channels.
        norm: "batch", or "group" for groups of channels, 32 in each layer.

    Raises:
        ValueError: the images are not in colour.

    References:
        K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016;
        Y. Wu, K. He, Group Normalization, ECCV 2018.
    """
    from torchvision import models  # seconds to import, needed by this network alone

    if image_shape[0] != 3:
        raise ValueError(f"resnet18 needs images of 3 channels, got {image_shape[0]}.")
    layer = nn.BatchNorm2d if norm == "batch" else partial(nn.GroupNorm, GROUPS)
    return models.resnet18(num_classes=num_classes, norm_layer=layer)
