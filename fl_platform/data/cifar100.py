"""CIFAR-100 from its original files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.data.cifar10_pickle import read_batch
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import find_folder

# MD5 sums published with the files (torchvision checks the same).
FILES = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
LARGEST = 2**28  # bytes; the published training file has 155 million


def cifar100(*, root: str | Path = "data") -> Dataset:
    """50,000 training and 10,000 test images of 32 x 32 pixels in 100 fine classes.

    Reads ``ROOT/cifar-100-python`` or ``ROOT/cifar100/cifar-100-python``. Unpickling
    runs no code of the files. Files with another MD5 than published are noted in the data set.

    Args:
        root: Data folder.

    Raises:
        DataError: Files are missing or damaged.

    References:
        A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    folder = find_folder(root, "cifar100")
    files = stamps(folder / name for name in FILES)
    images, labels, other = {}, {}, []
    for name, published in FILES.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise DataError(f"Expected a file of at most {LARGEST} bytes at {path}.")
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != published:
            other.append(name)
        images[name], labels[name] = _parse(path, content)
    return Dataset(
        name="cifar100",
        train_images=images["train"],
        train_labels=labels["train"],
        test_images=images["test"],
        test_labels=labels["test"],
        num_classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        notes=(f"not the published CIFAR-100: {', '.join(other)} differ",) if other else (),
        files=files,
    )


def _parse(path: Path, content: bytes) -> tuple[Tensor, Tensor]:
    try:
        batch = read_batch(content)
        images, labels = batch["data"], batch["fine_labels"]
        if images.ndim != 2 or images.shape[1] != 3072 or len(images) != len(labels):
            raise ValueError("images are not rows of 3,072 bytes, one per label")
        if not all(type(label) is int for label in labels):
            raise ValueError("labels are not a list of whole numbers")
        return torch.from_numpy(images.copy()).view(-1, 3, 32, 32), torch.tensor(labels)
    except Exception as error:  # a damaged pickle can raise almost any error
        got = f"{type(error).__name__}: {error}"
        raise DataError(f"Expected a CIFAR-100 file at {path}, got {got}") from error
