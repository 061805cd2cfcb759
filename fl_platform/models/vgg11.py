"""VGG-11 for small images."""

from __future__ import annotations

from typing import Literal

from torch import nn

WIDTHS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)  # 0: pooling


def vgg11(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    norm: Literal["none", "batch"] = "none",
) -> nn.Module:
    """Eight convolutions and one linear layer; 9,225,610 parameters for 10 classes in colour.

    The convolutions are those of torchvision's; its three linear layers, made for 224 x 224
    pixels, are one here, as usual for CIFAR.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 32 pixels.
        norm: "batch" normalises after each convolution (5,504 parameters more).

    Raises:
        ValueError: the image is smaller than the five poolings need.

    References:
        K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image
        Recognition, ICLR 2015.
    """
    before, height, width = image_shape
    if height < 32 or width < 32:
        raise ValueError(f"vgg11 needs images of at least 32 x 32 pixels, got {height} x {width}.")
    layers: list[nn.Module] = []
    for wide in WIDTHS:
        if wide == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(before, wide, 3, padding=1))
        layers += [nn.BatchNorm2d(wide)] if norm == "batch" else []
        layers.append(nn.ReLU())
        before = wide
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)]
    return nn.Sequential(*layers, *head)
