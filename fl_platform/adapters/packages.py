"""Optional packages: imported on use, or refused in one line that names what to install."""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackage(ImportError):  # noqa: N818 - an ImportError that says what to install
    """A package that an adapter needs is not installed."""


def needed(module: str) -> Any:
    """The module, imported.

    Raises:
        MissingPackage: its package is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingPackage(
            f"Expected the package {package}, which is not installed; use: pip install {package}",
            name=package,
        ) from None
