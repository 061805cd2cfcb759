"""AlexNet reduced to CIFAR-10's images, the paper's network for that task."""

from __future__ import annotations

from torch import nn


def small_alexnet(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Five convolutions and one linear layer; 2,472,266 parameters for 10 classes in colour.

    The layers are those of the STRIKE authors' code, which have no dropout.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 29 pixels.

    Raises:
        ValueError: an image that is too small for the three poolings.

    References:
        A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet Classification with Deep
        Convolutional Neural Networks, NeurIPS 2012 (the full-size network).
    """
    channels, height, width = image_shape
    rows, columns = (((side - 1) // 4 + 1) // 8 for side in (height, width))
    if rows < 1 or columns < 1:
        raise ValueError(
            f"small_alexnet needs images of at least 29 x 29 pixels, got {height} x {width}."
        )
    return nn.Sequential(
        nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256 * rows * columns, num_classes),
    )
