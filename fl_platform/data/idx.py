"""MNIST and data sets of its format: IDX files in the folder layout of torchvision."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import LAYOUTS, find_folder

LARGEST = 640 * 2**20  # bytes; EMNIST byclass, the largest published one, has 547 million
CLASSES = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}


def mnist(*, root: str | Path = "data") -> Dataset:
    """60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels.

    Reads ``ROOT/MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte``, also ``.gz``.

    Args:
        root: Data folder.

    Raises:
        DataError: Files are missing or damaged.

    References:
        Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998.
    """
    return _like_mnist("mnist", root, ("train", "t10k"), 10, 0.1307, 0.3081)


def fashion_mnist(*, root: str | Path = "data") -> Dataset:
    """60,000 training and 10,000 test images of clothes in 10 classes, 28 x 28 pixels.

    Reads ``ROOT/FashionMNIST/raw``, in the names of MNIST.

    Args:
        root: Data folder.

    Raises:
        DataError: Files are missing or damaged.

    References:
        H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747
    """
    return _like_mnist("fashion_mnist", root, ("train", "t10k"), 10, 0.2860, 0.3530)


def emnist(
    *,
    root: str | Path = "data",
    split: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = "balanced",
) -> Dataset:
    """Handwritten characters of 28 x 28 pixels in 10 to 62 classes, depending on the split.

    Reads ``ROOT/EMNIST/raw/emnist-SPLIT-{train,test}-{images-idx3,labels-idx1}-ubyte``. Images are
    transposed in the files and stay so, as in torchvision. Labels of ``letters`` start at 1 in the
    file and at 0 here.

    Args:
        root: Data folder.
        split: Name of a published split.

    Raises:
        DataError: Files are missing or damaged.

    References:
        G. Cohen et al., EMNIST, 2017, https://arxiv.org/abs/1702.05373
    """
    parts = (f"emnist-{split}-train", f"emnist-{split}-test")
    first = 1 if split == "letters" else 0
    return _like_mnist("emnist", root, parts, CLASSES[split], 0.1751, 0.3332, first)


def _like_mnist(
    name: str,
    root: str | Path,
    parts: tuple[str, str],
    num_classes: int,
    mean: float,
    std: float,
    first: int = 0,
) -> Dataset:
    how, place = LAYOUTS[name].how, find_folder(root, name)
    files = [
        _file(place, f"{part}-{kind}-ubyte", how)
        for part in parts
        for kind in ("images-idx3", "labels-idx1")
    ]
    seen = stamps(files)
    images, labels, test_images, test_labels = (read_idx(file) for file in files)
    return Dataset(
        name=name,
        train_images=images.unsqueeze(1),
        train_labels=labels.long() - first,
        test_images=test_images.unsqueeze(1),
        test_labels=test_labels.long() - first,
        num_classes=num_classes,
        mean=(mean,),
        std=(std,),
        files=seen,
    )


def _file(folder: Path, name: str, how: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"Expected a file {name} or {name}.gz in {folder}, got none.\n{how}")


def read_idx(path: Path) -> Tensor:
    """uint8 tensor of an IDX file: magic 0, 0, 8, number of dimensions; sizes; values.

    Raises:
        DataError: The file is damaged, of another type, or larger than any published one.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Expected a readable IDX file at {path}, got: {error}") from error
    if len(content) > LARGEST or content[:3] != b"\0\0\x08" or len(content) < 4:
        raise DataError(f"Expected an IDX file of bytes, at most {LARGEST} of them, at {path}.")
    start = 4 + 4 * content[3]
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if not sizes or 0 in sizes or math.prod(sizes) != len(content) - start:
        raise DataError(
            f"Expected {math.prod(sizes)} bytes of data for sizes {sizes} in {path}, got"
            f" {max(0, len(content) - start)}; a cause can be a file that was cut short."
        )
    values = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)
    return torch.from_numpy(values.copy())
