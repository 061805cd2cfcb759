"""Data sets without images from one .npz file: numeric rows, and token sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.data.arrays import count_classes, integers, read_npz
from fl_platform.data.dataset import DataError, Dataset

NAMES = {
    "train_inputs": "x_train",
    "train_labels": "y_train",
    "test_inputs": "x_test",
    "test_labels": "y_test",
}
HOW = "Create it with numpy.savez(FILE, train_inputs=..., train_labels=..., test_inputs=..., ...)"


def tabular(
    *,
    root: str | Path = "data",
    file: str = "tabular.npz",
    num_classes: int | None = None,
    standardise: bool = True,
) -> Dataset:
    """Rows of real or binary numbers from ``ROOT/FILE``; pickled content is refused.

    The file holds ``train_inputs`` ``(N, F)``, ``train_labels``, ``test_inputs``, ``test_labels``
    (or Keras's ``x_train`` ...), and optionally ``writers``.

    Args:
        root: Data folder.
        file: File name relative to ``root``, or an absolute path.
        num_classes: Number of classes. Default: the largest training label plus 1.
        standardise: Subtract the mean of each column over the training rows and divide by its
            standard deviation; a constant column becomes 0.

    Raises:
        DataError: The file is missing, damaged or too large, or its arrays differ from the above.
    """
    path, content = _content(root, file)
    train, test = (_numbers(path, content[f"{part}_inputs"], part) for part in ("train", "test"))
    if standardise and train.shape[1:] == test.shape[1:]:
        mean, std = train.double().mean(0), train.double().std(0, correction=0)
        scale = torch.where(std > 0, std, torch.ones_like(std))
        train, test = (((rows.double() - mean) / scale).float() for rows in (train, test))
    return _dataset(path, content, train, test, num_classes)


def tokens(
    *, root: str | Path = "data", file: str = "tokens.npz", num_classes: int | None = None
) -> Dataset:
    """Sequences of token numbers from ``ROOT/FILE``; pickled content is refused.

    The file holds integers ``train_inputs`` ``(N, L)`` of at least 0, padded to one length, and the
    other arrays of `tabular`. The network receives ``(B, L)`` int64 (``model=bag_of_words``).

    Args:
        root: Data folder.
        file: File name relative to ``root``, or an absolute path.
        num_classes: Number of classes. Default: the largest training label plus 1.

    Raises:
        DataError: The file is missing, damaged or too large, or its arrays differ from the above.
    """
    path, content = _content(root, file)
    parts = []
    for part in ("train", "test"):
        values = content[f"{part}_inputs"]
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise DataError(
                f"{path}: Expected whole numbers of shape (N, L) in {part}_inputs, got"
                f" {values.shape} of {values.dtype}."
            )
        parts.append(torch.from_numpy(values.astype(np.int64)))
    return _dataset(path, content, parts[0], parts[1], num_classes)


def _content(root: str | Path, file: str) -> tuple[Path, dict[str, np.ndarray]]:
    path = (Path(root) / file).absolute()
    if not path.is_file():
        raise DataError(
            f"Expected a file at {path}, got none. Set another path with task.data.file.\n{HOW}"
        )
    return path, read_npz(path, NAMES, HOW)


def _numbers(path: Path, values: np.ndarray, part: str) -> Tensor:
    if values.ndim < 2 or values.dtype.kind not in "iuf" or 0 in values.shape:
        raise DataError(
            f"{path}: Expected real inputs of shape (N, ...), none of them 0, got"
            f" {values.shape} of {values.dtype}."
        )
    numbers = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    wrong = torch.nonzero(~numbers.isfinite().flatten(1))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{path}: Expected finite inputs, got {numbers[row].flatten()[column]:g} in row {row},"
            f" column {column} of {part}_inputs (counted from 0)."
        )
    return numbers


def _dataset(
    path: Path,
    content: dict[str, np.ndarray],
    train: Tensor,
    test: Tensor,
    num_classes: int | None,
) -> Dataset:
    try:
        labels, test_labels = integers(content["train_labels"]), integers(content["test_labels"])
        writers = integers(content["writers"]) if "writers" in content else None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return Dataset(
        name=path.stem,
        train_images=train,
        train_labels=labels,
        test_images=test,
        test_labels=test_labels,
        num_classes=count_classes(labels, num_classes),
        mean=(0.0,),
        std=(1.0,),
        writers=writers,
        files=stamps([path]),
    )
