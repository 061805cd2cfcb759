"""LeNet-5."""

from __future__ import annotations

from torch import nn


def lenet(num_classes: int, image_shape: tuple[int, ...]) -> nn.Module:
    """Two convolutions and three linear layers; 61,706 parameters for 10 classes of 28 x 28.

    With ReLU and max pooling, as usual today. Images are padded by two pixels of value 0, the mean
    of normalised images: 28 x 28 becomes the paper's 32 x 32. FLPoison resizes the images instead.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width; sides of at least 12 pixels.

    Raises:
        ValueError: an image that is too small for the two convolutions and poolings.

    References:
        Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998.
        FLPoison, ``fl/models/lenet5.py``, https://github.com/vio1etus/FLPoison
    """
    channels, height, width = image_shape
    rows, columns = ((side // 2 - 4) // 2 for side in (height, width))
    if rows < 1 or columns < 1:
        raise ValueError(f"lenet needs images of at least 12 x 12 pixels, got {height} x {width}.")
    return nn.Sequential(
        nn.Conv2d(channels, 6, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )
