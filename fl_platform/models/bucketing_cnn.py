"""The network of the bucketing paper's MNIST experiments, with dropout."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from fl_platform.core.constraints import Between


def bucketing_cnn(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    channel_dropout: Annotated[float, Between(0, 1)] = 0.25,
    dropout: Annotated[float, Between(0, 1)] = 0.5,
) -> nn.Module:
    """Two convolutions, dropout, two linear layers; 1,199,882 parameters for MNIST.

    It is the network of PyTorch's MNIST example. The second dropout there is called two-dimensional
    but is applied to vectors, where it drops each number independently, as here.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 6 pixels.
        channel_dropout: probability that a channel is dropped after the convolutions.
        dropout: probability that a hidden number is dropped.

    Raises:
        ValueError: an image that is too small for the convolutions and the pooling.

    References:
        S. P. Karimireddy, L. He, M. Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via
        Bucketing, ICLR 2022.
    """
    channels, height, width = image_shape
    rows, columns = ((side - 4) // 2 for side in (height, width))
    if rows < 1 or columns < 1:
        raise ValueError(
            f"bucketing_cnn needs images of at least 6 x 6 pixels, got {height} x {width}."
        )
    return nn.Sequential(
        nn.Conv2d(channels, 32, kernel_size=3),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout2d(channel_dropout),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, num_classes),
    )
