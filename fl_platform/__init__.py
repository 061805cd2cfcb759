"""Byzantine-robust federated learning: attacks, defenses and honest comparisons.

For scripts and notebooks::

    import fl_platform as fl

    result = fl.run("task=digits", "attack=strike", rounds=10)
    frame = fl.runs()

Names are imported when they are first used, so that ``import fl_platform`` costs nothing.
``run``, ``grid`` and ``report`` are modules and can be called: ``fl.run(...)`` is
`fl_platform.api.run`; ``from fl_platform.run.runner import run`` is the function beneath it, which
takes a checked configuration.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fl_platform.core.lazy import LazyPackage, lazy

if TYPE_CHECKING:
    from fl_platform.api import compose, curves, grid, report, run, runs
    from fl_platform.config import Config, ConfigError
    from fl_platform.run.result import Result

__version__ = "0.2.0"

__all__ = [
    "Config",
    "ConfigError",
    "Result",
    "__version__",
    "compose",
    "curves",
    "grid",
    "report",
    "run",
    "runs",
]

_CALLABLE = ("run", "grid", "report")  # modules and functions of the face at once


class _CallableModule(LazyPackage):
    """A module of the package that calls the function of its name in `fl_platform.api`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        face = importlib.import_module("fl_platform.api")
        return getattr(face, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(LazyPackage):
    """This package: makes a submodule callable where the import system binds it as a name."""

    def __getattr__(self, name: str) -> Any:
        if name in _CALLABLE:
            return importlib.import_module(f"{__name__}.{name}")
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLABLE and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


lazy(__name__, _Package)
