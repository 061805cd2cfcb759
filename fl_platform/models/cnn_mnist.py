"""The small networks of ByzFL for MNIST."""

from __future__ import annotations

import math
from typing import Annotated

from torch import nn

from fl_platform.core.constraints import AtLeast


def cnn_mnist(num_classes: int, image_shape: tuple[int, ...]) -> nn.Module:
    """Two convolutions and two linear layers; 431,080 parameters for 10 classes of 28 x 28.

    ByzFL's ends in a log-softmax and trains with the negative log-likelihood, which together are
    the cross-entropy of these outputs.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 16 pixels.

    Raises:
        ValueError: an image that is too small for the two convolutions and poolings.

    References:
        ByzFL, ``cnn_mnist``, https://github.com/LPD-EPFL/byzfl
    """
    channels, height, width = image_shape
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    if rows < 1 or columns < 1:
        raise ValueError(
            f"cnn_mnist needs images of at least 16 x 16 pixels, got {height} x {width}."
        )
    return nn.Sequential(
        nn.Conv2d(channels, 20, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * rows * columns, 500),
        nn.ReLU(),
        nn.Linear(500, num_classes),
    )


def fc_mnist(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    hidden: Annotated[int, AtLeast(1)] = 100,
) -> nn.Module:
    """Pixels - ``hidden`` - classes with a ReLU between; 79,510 parameters for MNIST.

    Args:
        num_classes: outputs.
        image_shape: shape of one input.
        hidden: width of the hidden layer.

    References:
        ByzFL, ``fc_mnist``, whose log-softmax is part of the cross-entropy here.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(image_shape), hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
