"""A perceptron with one hidden layer, for small images."""

from __future__ import annotations

import math
from typing import Annotated

from torch import nn

from fl_platform.core.constraints import AtLeast


def mlp(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    hidden: Annotated[int, AtLeast(1)] = 64,
) -> nn.Module:
    """Pixels - ``hidden`` - classes with a ReLU between; 4,810 parameters for digits.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width.
        hidden: width of the hidden layer.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(image_shape), hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
