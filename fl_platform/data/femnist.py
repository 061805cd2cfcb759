"""FEMNIST in the format of LEAF: handwritten characters, one client per writer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_platform.core.file_stats import stamps
from fl_platform.core.outside import parse_json, read_file
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import LAYOUTS, find_folder

HOW = LAYOUTS["femnist"].how
PIXELS = 28 * 28


def femnist(*, root: str | Path = "data") -> Dataset:
    """Characters of 28 x 28 pixels in 62 classes (digits, upper case, lower case) by writer.

    Reads ``data/{train,test}/*.json`` in ``ROOT/femnist`` or in ``ROOT``, created with LEAF's
    ``-t sample``, which splits the images of each writer. The test images of all writers are
    pooled. LEAF stores ``v / 255`` (ink 0, paper 1); the bytes are restored without further
    normalisation, as in the STRIKE authors' code. Writers are numbered in the order of their names.

    Args:
        root: Data folder.

    Raises:
        DataError: Files are missing or damaged, pixels are outside [0, 1], a writer occurs twice,
            or the two splits look swapped or were created with ``-t user``.

    References:
        S. Caldas et al., LEAF: A Benchmark for Federated Settings, 2018,
        https://arxiv.org/abs/1812.01097
    """
    folder = find_folder(root, "femnist")
    splits = [folder / "train", folder / "test"]
    files = stamps([*splits, *(path for split in splits for path in sorted(split.glob("*.json")))])
    train, test = map(_read_split, splits)
    names = sorted(train)
    strangers = sorted(set(test) - set(train))
    if strangers:
        raise DataError(
            f"Expected test images of the training writers in {folder}, got writer"
            f" {strangers[0]!r} without training images; LEAF's -t sample is needed, not -t user."
        )
    sizes = [len(train[name][1]) for name in names]
    test_names = [name for name in names if name in test]
    if sum(sizes) < sum(len(test[name][1]) for name in test_names):
        raise DataError(
            f"Expected more training than test images in {folder}, got {sum(sizes)} training"
            " images; the folders train and test look swapped."
        )
    return Dataset(
        name="femnist",
        train_images=torch.cat([train[name][0] for name in names]),
        train_labels=torch.cat([train[name][1] for name in names]),
        test_images=torch.cat([test[name][0] for name in test_names]),
        test_labels=torch.cat([test[name][1] for name in test_names]),
        num_classes=62,
        mean=(0.0,),
        std=(1.0,),
        writers=torch.arange(len(names)).repeat_interleave(torch.tensor(sizes)),
        notes=(f"{len(names)} writers",),
        files=files,
    )


def _read_split(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels per writer, one file at a time: parsed JSON takes much memory."""
    writers: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError(f"Expected LEAF files *.json in {folder}, got none.\n{HOW}")
    for path in files:
        for name, content in _users(path):
            if name in writers:
                raise DataError(f"Expected each writer once in {folder}, got {name!r} twice.")
            try:
                writers[name] = _images(content["x"]), _labels(content["y"])
                if len(writers[name][0]) != len(writers[name][1]):
                    raise ValueError("the numbers of images and labels differ")
            except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
                raise DataError(
                    f"Expected images and labels of writer {name!r} in {path}, got: {error}"
                ) from error
    return writers


def _users(path: Path) -> Iterable[tuple[str, Any]]:
    try:
        content = parse_json(read_file(path, "data", follow=True), path, exact=False)
        return list(content["user_data"].items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"Expected a LEAF file with 'user_data' at {path}, got {type(error).__name__}:"
            f" {error}. A cause can be a file that was cut short.\n{HOW}"
        ) from error


def _images(rows: Any) -> torch.Tensor:
    """``(n, 1, 28, 28)`` uint8 from rows of pixels in [0, 1]."""
    pixels = np.array(rows)
    if pixels.dtype.kind not in "fiu":  # texts and numbers too large for NumPy would be converted
        raise ValueError(f"pixels must be numbers, got {pixels.dtype}")
    pixels = pixels.astype(np.float64)
    if pixels.ndim != 2 or pixels.shape[1] != PIXELS or len(pixels) == 0:
        raise ValueError(f"images need {PIXELS} pixels each, got shape {pixels.shape}")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # this form also refuses NaN
        raise ValueError(f"pixels must be in [0, 1], got [{pixels.min()}, {pixels.max()}]")
    return torch.from_numpy(np.rint(pixels * 255).astype(np.uint8)).view(-1, 1, 28, 28)


def _labels(values: Any) -> torch.Tensor:
    if not all(type(value) is int for value in values):
        raise ValueError("labels must be whole numbers")
    return torch.tensor(values, dtype=torch.int64)
