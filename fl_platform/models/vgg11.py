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

    The convolutions are those of torchvision; its three linear layers, for 224 x 224 pixels, are
    replaced by one, as usual for CIFAR.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 32 pixels.
        norm: "batch": normalise after each convolution (5,504 more parameters).

    Raises:
        ValueError: an image that is too small for the five poolings.

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
