"""Street View House Numbers, cropped digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import find_folder

FILES = ("train_32x32.mat", "test_32x32.mat")
LARGEST = 2**30  # bytes; the published training file has 182 million


def svhn(*, root: str | Path = "data") -> Dataset:
    """73,257 training and 26,032 test images of digits of house numbers, 32 x 32 pixels in colour.

    Reads ``{train,test}_32x32.mat`` in ``ROOT/svhn`` or ``ROOT``; label 10 in the file is digit 0.

    Args:
        root: Data folder.

    Raises:
        DataError: Files are missing or damaged.

    References:
        Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011.
    """
    folder = find_folder(root, "svhn")
    files = stamps(folder / name for name in FILES)
    (images, labels), (test_images, test_labels) = (_read(folder / name) for name in FILES)
    return Dataset(
        name="svhn",
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        files=files,
    )


def _read(path: Path) -> tuple[Tensor, Tensor]:
    from scipy.io import loadmat  # only this data set needs it

    if not path.is_file() or path.stat().st_size > LARGEST:
        raise DataError(f"Expected a file of at most {LARGEST} bytes at {path}.")
    try:
        content = loadmat(str(path), variable_names=["X", "y"])
        images, labels = content["X"], content["y"].ravel()
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
            raise ValueError(f"images have shape {images.shape} of {images.dtype}")
        if labels.min() < 1 or labels.max() > 10:
            raise ValueError(f"labels run from {labels.min()} to {labels.max()}, not from 1 to 10")
    except Exception as error:  # scipy raises many kinds of errors
        got = f"{type(error).__name__}: {error}"
        raise DataError(f"Expected SVHN's cropped digits at {path}, got {got}") from error
    ordered = np.ascontiguousarray(images.transpose(3, 2, 0, 1))
    return torch.from_numpy(ordered), torch.from_numpy(labels.astype(np.int64) % 10)
