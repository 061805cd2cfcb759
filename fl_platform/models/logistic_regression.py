"""One linear layer."""

from __future__ import annotations

import math

from torch import nn


def logistic_regression(num_classes: int, image_shape: tuple[int, ...]) -> nn.Module:
    """Inputs - classes; 7,850 parameters for MNIST. With cross-entropy it is convex.

    Args:
        num_classes: outputs.
        image_shape: shape of one input.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), num_classes))
