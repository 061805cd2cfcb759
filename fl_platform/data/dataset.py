"""Classification data set, held in memory as uint8."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fl_platform.core.file_stats import Stamp
from fl_platform.core.rng import generator
from fl_platform.data.locate import DataError


@dataclass(frozen=True)
class Dataset:
    """Training and test images with labels.

    Images stay uint8 and are normalised where they are used (`normalise`): CIFAR-10 takes 184 MB
    and is copied to a device once.

    Attributes:
        name: Name of the data set.
        train_images: ``(N, C, H, W)`` uint8; or inputs of another kind: ``(N, ...)`` in floating
            point, which are used as they are, or tokens ``(N, L)`` int64.
        train_labels: ``(N,)`` int64 in ``0 .. num_classes - 1``.
        test_images: ``(M, ...)``, likewise.
        test_labels: ``(M,)`` int64.
        num_classes: Number of classes, including classes without samples.
        mean: Mean of ``x / 255`` per channel.
        std: Standard deviation of ``x / 255`` per channel; positive.
        writers: ``(N,)`` int64, writer of each training image; ``None``: unknown.
        digest: SHA-256 of all of the above except the name. Default: computed.
        notes: Remarks for readers of results.
        files: Stamps (path, size, time) of the source files, taken before reading; empty without
            files or if the loader does not report them.

    Raises:
        DataError: Types, shapes, labels, writers or normalisation are inconsistent.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    writers: Tensor | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()
    files: tuple[Stamp, ...] = ()

    def __post_init__(self) -> None:
        _check_split(self, "training", self.train_images, self.train_labels)
        _check_split(self, "test", self.test_images, self.test_labels)
        if self.test_images.dtype != self.train_images.dtype:
            raise DataError(
                f"{self.name}: Expected training and test inputs of one kind (uint8 images,"
                f" floating point or tokens), got {self.train_images.dtype} and"
                f" {self.test_images.dtype}."
            )
        if self.test_images.shape[1:] != self.train_images.shape[1:]:
            raise DataError(
                f"{self.name}: Expected test images shaped like the training images"
                f" {self.image_shape}, got {tuple(self.test_images.shape[1:])}."
            )
        channels = self.image_shape[0] if self.train_images.dtype == torch.uint8 else 1
        if len(self.mean) != channels or len(self.std) != channels:
            raise DataError(
                f"{self.name}: Expected one mean and one std for each of {channels} channels,"
                f" got {len(self.mean)} and {len(self.std)}."
            )
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise DataError(
                f"{self.name}: Expected finite means and positive stds,"
                f" got mean={self.mean}, std={self.std}."
            )
        if self.writers is not None and (
            self.writers.dtype != torch.int64 or self.writers.shape != self.train_labels.shape
        ):
            raise DataError(
                f"{self.name}: Expected an int64 writer for each of {len(self.train_labels)}"
                f" training images, got shape {tuple(self.writers.shape)} of {self.writers.dtype}."
            )
        if not self.digest:
            object.__setattr__(self, "digest", _digest(self))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image; the shape of one input of another kind."""
        return tuple(self.train_images.shape[1:])


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Data set with ``count`` training images, drawn from the stream "samples" of ``seed``.

    The images keep their order. The digest is unchanged: it identifies the loaded data.

    Raises:
        DataError: ``count`` is below 1 or above the number of training images.
    """
    size = len(dataset.train_labels)
    if not 1 <= count <= size:
        raise DataError(
            f"task.samples: expected from 1 to {size}, the training images of {dataset.name},"
            f" or null for all, got {count}."
        )
    kept = torch.randperm(size, generator=generator(seed, "samples"))[:count].sort().values
    return _restricted(dataset, kept)


def set_aside(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Tensor, Tensor]:
    """Takes ``count`` training images for the server, drawn from the stream "root" of ``seed``.

    Returns:
        The data set with the remaining training images (its digest still names the data as it
        was loaded), then the server's images and their labels.

    Raises:
        DataError: ``count`` is below 1, or would leave no training image.
    """
    size = len(dataset.train_labels)
    if not 1 <= count < size:
        raise DataError(
            f"task.root_samples: expected from 1 to {size - 1}, fewer than the training images of"
            f" {dataset.name}, or null for none, got {count}."
        )
    taken = torch.zeros(size, dtype=torch.bool)
    taken[torch.randperm(size, generator=generator(seed, "root"))[:count]] = True
    return _restricted(dataset, ~taken), dataset.train_images[taken], dataset.train_labels[taken]


def hold_out(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Tensor, Tensor]:
    """Hold out a share of the training images for validation, before the partition.

    The images are drawn from the stream "validation" of ``seed``; their number is the nearest to
    the share, and at least one. Where images have writers, each gives its share rounded down, and
    the writers with the largest remainders (equal ones in drawn order) give one more until the
    number is reached. Each keeps at least one image, so that holding out never changes how many
    clients there are.

    Args:
        dataset: The data set; it is not changed.
        fraction: Share to hold out, in [0, 1).
        seed: Seed of the run.

    Returns:
        The data set with the remaining training images (its digest still identifies the loaded
        data), the validation images and their labels.

    Raises:
        ValueError: the fraction is outside its range.
        DataError: the share would leave a writer, or the training set, without an image.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"Expected a validation fraction in [0, 1), got {fraction}.")
    size = len(dataset.train_labels)
    groups = torch.zeros(size, dtype=torch.int64) if dataset.writers is None else dataset.writers
    stream = generator(seed, "validation")
    order = torch.randperm(size, generator=stream)
    order = order[groups[order].argsort(stable=True)]  # shuffled within each group
    _, counts = groups[order].unique_consecutive(return_counts=True)
    held = torch.zeros(size, dtype=torch.bool)
    if fraction > 0:
        shares = _shares(counts, fraction, stream)
        for part, share in zip(order.split(counts.tolist()), shares.tolist(), strict=True):
            held[part[:share]] = True
    return _restricted(dataset, ~held), dataset.train_images[held], dataset.train_labels[held]


def _shares(counts: Tensor, fraction: float, stream: torch.Generator) -> Tensor:
    """``(G,)`` images that each group of ``counts`` gives, by largest remainders."""
    size, most = int(counts.sum()), counts - 1
    wanted = max(round(fraction * size), 1)
    if wanted > int(most.sum()) + 1 or not most.any():
        raise DataError(
            f"task.validation: expected a share of at most {int(most.sum()) / size:.3g}, which"
            f" leaves each of {len(counts)} writers a training image, got {fraction}."
        )
    quotas = fraction * counts.double()
    shares = quotas.floor().long().minimum(most)
    remainders = quotas - shares
    first = torch.randperm(len(counts), generator=stream)
    while (short := min(wanted, int(most.sum())) - int(shares.sum())) > 0:
        free = first[(shares < most)[first]]
        chosen = free[remainders[free].argsort(descending=True, stable=True)[:short]]
        shares[chosen] += 1
        remainders[chosen] -= 1
    return shares


def _restricted(dataset: Dataset, kept: Tensor) -> Dataset:
    """Data set with the training images selected by ``kept``; the digest is unchanged."""
    return replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        writers=None if dataset.writers is None else dataset.writers[kept],
    )


def _check_split(dataset: Dataset, split: str, images: Tensor, labels: Tensor) -> None:
    name = f"{dataset.name}, {split} set"
    real, whole = images.is_floating_point(), images.dtype == torch.int64
    fits = images.ndim >= 2 if real else images.ndim == (2 if whole else 4)
    if not (fits and (real or whole or images.dtype == torch.uint8)) or 0 in images.shape:
        raise DataError(
            f"{name}: Expected uint8 images of shape (N, C, H, W), none of them 0 (or inputs in"
            " floating point of shape (N, ...), or tokens of shape (N, L)),"
            f" got shape {tuple(images.shape)} of {images.dtype}."
        )
    if (real and not bool(images.isfinite().all())) or (whole and int(images.min()) < 0):
        raise DataError(f"{name}: Expected finite inputs, and tokens of at least 0.")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{name}: Expected int64 labels of shape ({len(images)},), one for each image,"
            f" got shape {tuple(labels.shape)} of {labels.dtype}."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= dataset.num_classes:
        raise DataError(
            f"{name}: Expected labels from 0 to {dataset.num_classes - 1}"
            f" ({dataset.num_classes} classes), got labels from {low} to {high}."
        )


def _digest(dataset: Dataset) -> str:
    content = hashlib.sha256()
    head = (dataset.num_classes, dataset.mean, dataset.std, dataset.writers is not None)
    content.update(repr(head).encode())
    tensors = [
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    ]
    if dataset.writers is not None:
        tensors.append(dataset.writers)
    for tensor in tensors:
        content.update(repr(tuple(tensor.shape)).encode())
        content.update(tensor.contiguous().numpy().data)
    return content.hexdigest()
