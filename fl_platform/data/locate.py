"""Search for the folder of a data set; the error lists all searched places. Imports no torch."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies


class DataError(ValueError):
    """Data are missing, damaged or inconsistent; the message names the folder or file."""


@dataclass(frozen=True)
class Layout:
    """The folder of a data set.

    Attributes:
        places: Folders below the root, the preferred one first.
        contents: Required files and folders, relative to the place.
        how: Instructions to get the data, for the message.
        url: Source of the download, for a loader that has one.
    """

    places: tuple[str, ...]
    contents: tuple[str, ...]
    how: str
    url: str = ""


ANOTHER = "Set another folder with task.data.root."
CIFAR10 = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


def _torchvision(name: str, more: str = "") -> str:
    return (
        f"Download it: python -c \"from torchvision.datasets import {name} as d; d('ROOT'{more},"
        f' download=True)" with the data folder as ROOT. {ANOTHER}'
    )


LAYOUTS = {
    "cifar10": Layout(
        ("cifar10/cifar-10-batches-py", "cifar-10-batches-py"),
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
        "Download it: set task.data.download=true on a machine with a network, or fetch\n"
        f"  {CIFAR10}\nand unpack it there. {ANOTHER}",
        CIFAR10,
    ),
    "cifar100": Layout(
        ("cifar100/cifar-100-python", "cifar-100-python"),
        ("train", "test"),
        _torchvision("CIFAR100"),
    ),
    "emnist": Layout(("EMNIST/raw",), (".",), _torchvision("EMNIST", ", split=...")),
    "fashion_mnist": Layout(("FashionMNIST/raw",), (".",), _torchvision("FashionMNIST")),
    "femnist": Layout(
        ("femnist/data", "data", "."),
        ("train", "test"),
        "Create it: in LEAF (https://github.com/TalwalkarLab/leaf), folder data/femnist, run\n"
        "  ./preprocess.sh -s niid --sf 1.0 -k 0 -t sample\n"
        f"and copy its data/train and data/test there. {ANOTHER}",
    ),
    "imagenet12": Layout(
        ("imagenet12", "."),
        ("train", "val"),
        "Create train/CLASS/*.JPEG and val/CLASS/*.JPEG there, one folder per class (ImageNet"
        f" needs\nan account at https://image-net.org). {ANOTHER}",
    ),
    "mnist": Layout(("MNIST/raw",), (".",), _torchvision("MNIST")),
    "svhn": Layout(
        ("svhn", "SVHN", "."),
        ("train_32x32.mat", "test_32x32.mat"),
        "Download it: fetch http://ufldl.stanford.edu/housenumbers/{train,test}_32x32.mat (or"
        f" torchvision.datasets.SVHN with download=True). {ANOTHER}",
    ),
}


def find_folder(root: str | Path, name: str) -> Path:
    """First place of the layout ``name`` below ``root`` that holds all of its contents.

    Args:
        root: Data folder; a relative path starts at the working directory.
        name: A key of ``LAYOUTS``.

    Raises:
        DataError: No place holds all of it; the message lists every place and what it lacks.
    """
    looked, layout = [], LAYOUTS[name]
    for place in layout.places:
        folder = (Path(root) / place).absolute()
        missing = [name for name in layout.contents if not (folder / name).exists()]
        if not missing:
            return folder
        looked.append(
            f"  {folder} ({'lacks ' + ', '.join(missing) if folder.exists() else 'missing'})"
        )
    raise DataError("Looked for the data in\n" + "\n".join(looked) + f"\n{layout.how}")


def to_download(root: str | Path, name: str) -> bool:
    """True if none of the places of the layout ``name`` exists below ``root``."""
    return not any((Path(root) / place).exists() for place in LAYOUTS[name].places)


def refuse_missing_folder(name: str, node: Mapping[str, Any]) -> None:
    """Refuse a data set whose folder is missing and cannot be downloaded.

    Args:
        name: Name of the data set; one without a layout is not checked.
        node: Its settings, with ``root`` resolved.

    Raises:
        DataError: As `find_folder`, or a download whose host has no address here. Behind a proxy
            only the download itself can tell.
    """
    if name not in LAYOUTS or "root" not in node:
        return
    root, layout = node["root"], LAYOUTS[name]
    if not (node.get("download") and to_download(root, name)):
        find_folder(root, name)
    elif not getproxies():
        try:
            socket.getaddrinfo(urlsplit(layout.url).hostname, None)
        except OSError as error:
            folder = Path(root) / name
            raise download_error(folder, name, error) from None


def download_error(folder: Path, name: str, reason: Exception) -> DataError:
    """The refusal of a download that failed."""
    told = {"cifar10": "CIFAR-10"}.get(name, name)
    return DataError(f"Could not download {told} to {folder}: {reason}\n{LAYOUTS[name].how}")
