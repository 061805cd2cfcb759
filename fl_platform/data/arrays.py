"""Data set from NumPy arrays in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.core.outside import CLASSES, OutsideError, array_headers
from fl_platform.core.text import printable
from fl_platform.data.dataset import DataError, Dataset

# Accepted names of the four arrays: those of MedMNIST and of Keras.
NAMES = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}
CHANNELS = (1, 3, 4)
HOW = "Create it with numpy.savez(FILE, train_images=..., train_labels=..., test_images=..., ...)"


def arrays(
    *,
    root: str | Path = "data",
    file: str = "arrays.npz",
    layout: Literal["channels_last", "channels_first"] = "channels_last",
    num_classes: int | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
) -> Dataset:
    """Images and labels from ``ROOT/FILE``; pickled content is refused.

    The file holds ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` (or
    Keras's ``x_train`` ...), and optionally ``writers``. Images are uint8, or floating point in
    [0, 1] that is rounded to uint8; their shape is ``(N, H, W)`` or
    ``(N, H, W, C)``, or ``(N, C, H, W)`` with ``layout="channels_first"``. Labels are whole
    numbers of shape ``(N,)`` or ``(N, 1)``.

    Args:
        root: Data folder.
        file: File name relative to ``root``, or an absolute path.
        layout: Position of the channels in four-dimensional images.
        num_classes: Number of classes. Default: the largest training label plus 1.
        mean: Mean of ``x / 255`` per channel. Default: computed from the training images.
        std: Standard deviation of ``x / 255`` per channel. Default: likewise.

    Raises:
        DataError: The file is missing, damaged or too large, or its arrays differ from the above.
    """
    path = (Path(root) / file).absolute()
    if not path.is_file():
        raise DataError(
            f"Expected a file at {path}, got none. Set another path with task.data.file.\n{HOW}"
        )
    files = stamps([path])
    content = read_npz(path, NAMES, HOW)
    try:
        train_images = _images(content["train_images"], layout)
        test_images = _images(content["test_images"], layout)
        train_labels = integers(content["train_labels"])
        test_labels = integers(content["test_labels"])
        writers = integers(content["writers"]) if "writers" in content else None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if int(train_labels.max()) >= CLASSES:
        most = int(train_labels.max())
        raise DataError(f"{path}: expected labels below {CLASSES}, got {most}.")
    found_mean, found_std = _channel_statistics(train_images)
    return Dataset(
        name=path.stem,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=count_classes(train_labels, num_classes),
        mean=found_mean if mean is None else tuple(mean),
        std=found_std if std is None else tuple(std),
        writers=writers,
        files=files,
    )


def read_npz(path: Path, known: Mapping[str, str], how: str) -> dict[str, np.ndarray]:
    """Arrays of a .npz file under our names; ``known`` maps them to accepted other names.

    Raises:
        DataError: The file is damaged or too large, or lacks an array; ``how`` ends the message.
    """
    held: list[str] = []
    try:
        array_headers(path, "data")
        with np.load(path, allow_pickle=False) as saved:
            held = list(saved)
            names = {name: name if name in saved else other for name, other in known.items()}
            if "writers" in saved:
                names["writers"] = "writers"
            return {name: saved[found] for name, found in names.items()}
    except KeyError as error:
        got = printable(", ".join(held))[:200]
        raise DataError(
            f"Expected arrays {', '.join(known)} in {path}, got {got}\n{how}"
        ) from error
    except OutsideError as error:
        raise DataError(str(error)) from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"Expected a readable .npz file at {path}, got: {error}") from error


def _images(values: np.ndarray, layout: str) -> Tensor:
    """``(N, C, H, W)`` uint8."""
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4:
        _refuse_other_layout(values.shape, layout)
        values = values.transpose(0, 3, 1, 2) if layout == "channels_last" else values
    if values.ndim != 4 or 0 in values.shape:
        raise ValueError(f"Expected images of 3 or 4 dimensions, none 0, got {values.shape}.")
    if np.issubdtype(values.dtype, np.floating):
        if not (values.min() >= 0 and values.max() <= 1):  # this form also refuses NaN
            raise ValueError(
                "Expected floating-point pixels in [0, 1], got"
                f" [{values.min()}, {values.max()}]; save uint8, or divide by 255 first."
            )
        values = np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"Expected images as uint8 or floating point, got {values.dtype}.")
    return torch.from_numpy(np.ascontiguousarray(values))


def _refuse_other_layout(shape: tuple[int, ...], layout: str) -> None:
    """Refuse a shape whose channels (1, 3 or 4) stand where the other layout has them."""
    here, there = (shape[3], shape[1]) if layout == "channels_last" else (shape[1], shape[3])
    other = "channels_first" if layout == "channels_last" else "channels_last"
    if here not in CHANNELS and there in CHANNELS:
        raise ValueError(
            f"Expected images of 1, 3 or 4 channels in the layout {layout}, got shape {shape};"
            f" use task.data.layout={other}."
        )


def integers(values: np.ndarray) -> Tensor:
    """``(N,)`` int64 from integers of shape ``(N,)`` or ``(N, 1)``."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iu":
        raise ValueError(
            "Expected labels and writers as whole numbers of shape (N,),"
            f" got shape {values.shape} of {values.dtype}."
        )
    if values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"Expected labels and writers below 2**63, got {values.max()}.")
    return torch.from_numpy(values.astype(np.int64))


def count_classes(labels: Tensor, num_classes: int | None) -> int:
    """``num_classes``, or one more than the largest training label.

    Raises:
        DataError: There are more classes than ``num_classes``.
    """
    found = int(labels.max()) + 1
    if num_classes is not None and num_classes < found:
        raise DataError(
            f"task.data.num_classes: expected at least {found}, one more than the largest training"
            f" label, got {num_classes}."
        )
    return found if num_classes is None else num_classes


def _channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of ``x / 255`` per channel, exact, from histograms: no copy of the images."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256) / images[:, 0].numel()
        mean = float(share.double() @ levels)
        means.append(mean)
        stds.append(float(share.double() @ (levels - mean).square()) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)
