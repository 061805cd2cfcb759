"""The small convolutional network of LEAF for FEMNIST, as in the paper."""

from __future__ import annotations

from torch import nn


def femnist_cnn(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Two convolutions and two linear layers; 848,382 parameters for 62 classes of 28 x 28.

    The widths are those of the STRIKE authors' code; LEAF's own has 32 and 64 channels and 2,048
    hidden units.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 4 pixels.

    Raises:
        ValueError: an image that is too small for the two poolings.

    References:
        S. Caldas et al., LEAF: A Benchmark for Federated Settings, 2018,
        https://arxiv.org/abs/1812.01097
    """
    channels, height, width = image_shape
    if height < 4 or width < 4:
        raise ValueError(
            f"femnist_cnn needs images of at least 4 x 4 pixels, got {height} x {width}."
        )
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 512),
        nn.ReLU(),
        nn.Linear(512, num_classes),
    )
