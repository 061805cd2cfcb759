"""The network of the bucketing paper's MNIST experiments, with dropout."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from fl_platform.core.constraints import AtLeast, Below
from fl_platform.models.fixed_dropout import FixedDropout


def bucketing_cnn(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    channel_dropout: Annotated[float, AtLeast(0), Below(1)] = 0.25,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.5,
    masks: Literal["drawn", "fixed"] = "drawn",
    relus: Literal[1, 2] = 1,
) -> nn.Module:
    """Two convolutions, dropout, two linear layers; 1,199,882 parameters for MNIST.

    It is the network of the authors' code, an early form of PyTorch's MNIST example: no ReLU
    follows the second convolution. The second dropout there is called two-dimensional but is
    applied to vectors, where it drops each number independently, as here.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 6 pixels.
        channel_dropout: probability that a channel is dropped after the convolutions, below 1.
        dropout: probability that a hidden number is dropped, below 1.
        masks: ``drawn``: each step draws its own, as dropout is meant. ``fixed``: one mask per
            position in the batch for the whole run and all clients, see `FixedDropout`. That is
            what the authors' code does: it restores the state of the random generator after each
            client's gradient, so that every step begins at the same state.
        relus: 1: a ReLU after the first convolution, as in the authors' code; 2: after both, as in
            later forms of the example. With 2 many coordinates of a gradient are exactly 0, and the
            coordinate-wise median over clients of one class each learns nothing.

    Raises:
        ValueError: the image is smaller than the convolutions and the pooling need, or a chance is
            1 beside fixed masks.

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
    if masks not in ("drawn", "fixed"):
        raise ValueError(f"Expected masks drawn or fixed, got {masks!r}.")
    if relus not in (1, 2):
        raise ValueError(f"Expected relus 1 or 2, got {relus!r}.")
    if masks == "fixed" and 1 in (channel_dropout, dropout):
        raise ValueError("Expected chances below 1 beside masks=fixed, got 1.")
    layers = [
        nn.Conv2d(channels, 32, kernel_size=3),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3),
        nn.ReLU() if relus == 2 else nn.Identity(),
        nn.MaxPool2d(2),
        nn.Dropout2d(channel_dropout),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, num_classes),
    ]
    if masks == "fixed":  # behind all parameters, whose draws stay those of masks=drawn
        layers[5], layers[9] = FixedDropout(channel_dropout, 64), FixedDropout(dropout, 128)
    return nn.Sequential(*layers)
