"""The other libraries: which are installed, and what each implements."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from fl_platform.adapters.conformance import with_byzfl, with_byzpy, with_flower, with_krum
from fl_platform.adapters.conformance.verdicts import Peer


@dataclass(frozen=True)
class Library:
    """A library: package on the index, how its implementations are listed, licence, a remark."""

    package: str
    peers: Callable[[], list[Peer]] | None
    licence: str
    remark: str = ""


LIBRARIES = [
    Library("byzfl", with_byzfl.peers, "MIT"),
    Library(
        "byzpy",
        with_byzpy.peers,
        "MIT",
        "its metadata asks for torch below 2.6: pip install --no-deps byzpy cloudpickle",
    ),
    Library(
        "krum",
        with_krum.peers,
        "MIT",
        "for Python 3.12 and later; its rules run on 3.11 (pip install --ignore-requires-python)",
    ),
    Library("flwr", with_flower.peers, "Apache-2.0"),
    Library("FL-Byzantine-Library", None, "none stated", "no package on the index"),
    Library("blades", None, "Apache-2.0", "asks for torchvision 0.15, which needs torch 2.0"),
]


def version(library: Library) -> str | None:
    """The installed version; ``None`` where the library is not installed."""
    if library.peers is None:
        return None
    try:
        importlib.import_module(library.package)
        return metadata.version(library.package)
    except (ImportError, metadata.PackageNotFoundError):
        return None
