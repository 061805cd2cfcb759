"""CIFAR-10 from its original batch files; their digests are checked before they are read."""

from __future__ import annotations

import fcntl
import hashlib
import socket
import tarfile
from pathlib import Path

import torch
from torch import Tensor

from fl_platform.core.file_stats import stamps
from fl_platform.data.cifar10_pickle import read_batch
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.locate import CIFAR10, LAYOUTS, download_error, find_folder, to_download

FOLDER = "cifar-10-batches-py"
# MD5 sums published with the files (torchvision checks the same).
BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
URL = CIFAR10
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
PER_BATCH = 10_000  # images
LARGEST = 64 * 2**20  # bytes; a published batch has 31 million
HOW = LAYOUTS["cifar10"].how


def cifar10(
    *, root: str | Path = "data", download: bool = True, accept_digest: str | None = None
) -> Dataset:
    """50,000 training and 10,000 test images of 32 x 32 pixels in 10 classes.

    Reads ``ROOT/cifar10/cifar-10-batches-py`` or ``ROOT/cifar-10-batches-py``. The published MD5
    sums of all six files are checked before unpickling, and unpickling runs no code of the files.
    Channels are normalised as in the STRIKE authors' code; no augmentation.

    Args:
        root: Data folder.
        download: Download the published archive (170 MB) if the files are missing.
        accept_digest: Accept files that differ from the published ones: SHA-256 of the six files
            in sequence (``cat data_batch_[1-5] test_batch | sha256sum``). It is recorded in the
            notes of the data set.

    Raises:
        DataError: Files are missing or damaged, or differ from the published ones.

    References:
        A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
        https://www.cs.toronto.edu/~kriz/cifar.html
    """
    if download and to_download(root, "cifar10"):
        _download(Path(root) / "cifar10")
    folder = find_folder(root, "cifar10")
    files = stamps(folder / name for name in BATCHES)
    contents = {name: _content(folder / name) for name in BATCHES}
    notes = _check_digests(folder, contents, accept_digest)
    size = PER_BATCH * len(BATCHES)
    images = torch.empty(size, 3, 32, 32, dtype=torch.uint8)
    labels = torch.empty(size, dtype=torch.int64)
    for number, name in enumerate(BATCHES):
        part = slice(PER_BATCH * number, PER_BATCH * (number + 1))
        images[part], labels[part] = _parse(folder / name, contents.pop(name))
    train = slice(0, size - PER_BATCH)  # test_batch is the last
    test = slice(size - PER_BATCH, size)
    return Dataset(
        name="cifar10",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        num_classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        notes=notes,
        files=files,
    )


def _content(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise DataError(f"Expected a file of at most {LARGEST} bytes at {path}.\n{HOW}")
    return path.read_bytes()


def _check_digests(
    folder: Path, contents: dict[str, bytes], accept_digest: str | None
) -> tuple[str, ...]:
    """Accept published files and files named by ``accept_digest``; returns notes on them."""
    other = [
        name
        for name, content in contents.items()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != BATCHES[name]
    ]
    if not other:
        return ()
    total = hashlib.sha256()
    for content in contents.values():
        total.update(content)
    found = total.hexdigest()
    if accept_digest is None or accept_digest.lower() != found:
        asked = (
            "" if accept_digest is None else f", which differs from accept_digest={accept_digest}"
        )
        raise DataError(
            f"Expected the published CIFAR-10 batches in {folder}, got other content in"
            f" {', '.join(other)}{asked}.\nA cause can be an interrupted download: delete the"
            " folder to download again.\nTo use these files, set"
            f" task.data.accept_digest={found}"
        )
    if len({hashlib.sha256(content).digest() for content in contents.values()}) < len(contents):
        raise DataError(f"Expected six different batches in {folder}, got one of them twice.")
    return (f"not the published CIFAR-10: {', '.join(other)} differ; accepted sha256 {found}",)


def _parse(path: Path, content: bytes) -> tuple[Tensor, Tensor]:
    try:
        batch = read_batch(content)
        images, labels = batch["data"], batch["labels"]
        if getattr(images, "shape", None) != (PER_BATCH, 3072):
            raise ValueError(f"images are not an array of shape ({PER_BATCH}, 3072)")
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError("labels are not a list of whole numbers")
        if len(labels) != PER_BATCH:
            raise ValueError(f"{len(labels)} labels, not {PER_BATCH}")
        found = torch.from_numpy(images.copy()).view(PER_BATCH, 3, 32, 32), torch.tensor(labels)
    except (
        Exception
    ) as error:  # a damaged pickle can raise almost any error, often without a message
        got = f"{type(error).__name__}: {error}"
        raise DataError(f"Expected a CIFAR-10 batch in {path}, got {got}") from error
    is_test = str(batch.get("batch_label", "")).startswith("test")
    if "batch_label" in batch and is_test != (path.name == "test_batch"):
        raise DataError(
            f"Expected {path.name}, got batch_label {batch['batch_label']!r}: files look swapped."
        )
    return found


def _download(folder: Path) -> None:
    """Download the published archive and unpack its six files; one process at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "download.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / FOLDER).exists():
                _unpack(_fetch(folder), folder)
    except (OSError, RuntimeError) as error:
        raise download_error(folder, "cifar10", error) from error


def _fetch(folder: Path) -> Path:
    from torchvision.datasets.utils import download_url

    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds; torchvision sets no timeout
    try:
        download_url(URL, str(folder), md5=ARCHIVE_MD5)
    finally:
        socket.setdefaulttimeout(previous)
    return folder / Path(URL).name


def _unpack(archive: Path, folder: Path) -> None:
    """Copy the six files to fixed names, so that no path in the archive is used."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != ARCHIVE_SHA256:
        raise DataError(f"Expected {archive} with SHA-256 {ARCHIVE_SHA256}, got {found}.")
    unfinished = folder / f"{FOLDER}.unfinished"
    unfinished.mkdir(exist_ok=True)
    with tarfile.open(archive) as members:
        for name in BATCHES:
            source = members.extractfile(f"{FOLDER}/{name}")
            if source is None:
                raise DataError(f"Expected a file {FOLDER}/{name} in {archive}.")
            (unfinished / name).write_bytes(source.read(LARGEST))
    unfinished.rename(folder / FOLDER)  # atomic: the folder is complete or missing
