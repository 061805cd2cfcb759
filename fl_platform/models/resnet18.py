"""ResNet-18 of torchvision with random weights, the paper's network for ImageNet-12."""

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
    stem: Literal["imagenet", "small"] = "imagenet",
) -> nn.Module:
    """ResNet-18; 11,182,668 parameters for 12 classes, with either normalisation.

    Batch normalisation (the paper's) has running statistics beside the parameters, 9,620 numbers
    whose aggregation ``task.state`` sets. Group normalisation has none.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; three channels.
        norm: "batch", or "group" for groups of channels, 32 in each layer.
        stem: "imagenet": the first convolution has 7 x 7 weights and stride 2, and a pooling
            follows; "small": 3 x 3 with stride 1 and no pooling, as usual for CIFAR (11,173,962
            parameters for 10 classes).

    Raises:
        ValueError: images without three channels.

    References:
        K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016;
        Y. Wu, K. He, Group Normalization, ECCV 2018.
    """
    from torchvision import models  # takes seconds to import, used by this network only

    if image_shape[0] != 3:
        raise ValueError(f"resnet18 needs images of 3 channels, got {image_shape[0]}.")
    layer = nn.BatchNorm2d if norm == "batch" else partial(nn.GroupNorm, GROUPS)
    network = models.resnet18(num_classes=num_classes, norm_layer=layer)
    if stem == "small":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network
