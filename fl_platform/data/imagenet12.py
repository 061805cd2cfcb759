"""Twelve classes of ImageNet, or any folder with one folder of images per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.constraints import AtLeast
from fl_platform.core.file_stats import stamps
from fl_platform.core.outside import PIXELS
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import LAYOUTS, find_folder

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".jpeg", ".jpg", ".png"}
HOW = LAYOUTS["imagenet12"].how


def imagenet12(
    *,
    root: str | Path = "data",
    size: Annotated[int, AtLeast(1)] = 224,
    resize: Annotated[int, AtLeast(1)] | None = None,
) -> Dataset:
    """RGB images of ``size`` x ``size`` pixels; classes are the folders, in order of their names.

    Reads ``{train,val}/CLASS/`` in ``ROOT/imagenet12`` or in ``ROOT``. The shorter side is
    resized to ``resize`` and the centre is cropped. No augmentation, ImageNet's normalisation, both
    as in the STRIKE authors' code. The paper's twelve classes are not published, so the classes
    are a substitute; the notes of the data set list them.

    Args:
        root: Data folder.
        size: Side of the square images, in pixels.
        resize: Length of the shorter side before the crop. Default: ``size * 256 / 224``.

    Raises:
        DataError: Folders or images are missing or damaged, or the two splits have different
            classes or look swapped.
        ValueError: ``resize`` is smaller than ``size``.
    """
    side = round(size * 256 / 224) if resize is None else resize
    if side < size:
        raise ValueError(
            f"task.data.resize: expected at least task.data.size={size} to cut from, got {side}."
        )
    folder = find_folder(root, "imagenet12")
    train, val = _list_split(folder / "train"), _list_split(folder / "val")
    if list(train) != list(val):
        different = ", ".join(sorted(set(train) ^ set(val))[:5])
        raise DataError(
            f"Expected the same classes in train and val of {folder}; not in both: {different}."
        )
    if sum(map(len, train.values())) < sum(map(len, val.values())):
        raise DataError(
            f"Expected more training than validation images in {folder}; the folders train and"
            " val look swapped."
        )
    images = [path for split in (train, val) for paths in split.values() for path in paths]
    files = stamps([folder / "train", folder / "val", *{p.parent: None for p in images}, *images])
    train_images, train_labels = _read_split(train, side, size)
    test_images, test_labels = _read_split(val, side, size)
    return Dataset(
        name="imagenet12",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=len(train),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        notes=("classes, a substitute for the paper's unpublished list: " + " ".join(train),),
        files=files,
    )


def _list_split(folder: Path) -> dict[str, list[Path]]:
    """Classes and their images, both in the order of their names."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found = {
        name: sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES)
        for name in classes
    }
    empty = [name for name, images in found.items() if not images]
    if not found or empty:
        got = f"none in {empty[0]}" if empty else "no class"
        raise DataError(f"Expected folders of JPEG or PNG images in {folder}, got {got}.\n{HOW}")
    return found


def _read_split(classes: dict[str, list[Path]], side: int, size: int) -> tuple[Tensor, Tensor]:
    paths = [path for images in classes.values() for path in images]
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    for row, path in enumerate(paths):
        images[row] = _read_image(path, side, size)
    counts = torch.tensor([len(images) for images in classes.values()])
    return images, torch.arange(len(classes)).repeat_interleave(counts)


def _read_image(path: Path, side: int, size: int) -> Tensor:
    """``(3, size, size)`` uint8: shorter side resized to ``side`` (bilinear), centre cropped."""
    from PIL import Image  # late: all other data sets work without Pillow

    try:
        if not path.is_file():
            raise OSError("not a file")
        with Image.open(path, formats=("JPEG", "PNG")) as source:
            short, long = sorted(source.size)
            if max(short, side) * max(long, side * long // max(short, 1)) > PIXELS:
                shape = f"{source.width} x {source.height}"
                raise OSError(f"{shape} pixels, which are too many once the short side is {side}")
            image = _eight_bits(source).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Expected a JPEG or PNG image at {path}, got: {error}") from error
    width, height = image.size
    short = min(width, height)
    if short != side:
        image = image.resize(
            (side * width // short, side * height // short), Image.Resampling.BILINEAR
        )
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image of 16 bits a value as one of 8, ``value // 257``; Pillow would clip it at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise OSError(f"values from {values.min()} to {values.max()}, more than 16 bits hold")
    if 0 < values.max() <= 255:
        raise OSError("an image of 16 bits that holds values up to 255 alone; save it with 8 bits")
    return Image.fromarray((values // 257).astype(np.uint8))
