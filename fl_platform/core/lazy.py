"""Import of a package's public names on first use, so that the package itself imports fast."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package that imports each public name from its file on first use.

    A file may have the name of what it defines: ``strike.py`` defines ``strike``. The import system
    binds an imported file to its name in the package. This class binds the public object of that
    name instead, so that the name means the same before and after.
    """

    _homes: dict[str, tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        home, inside = self.__dict__.get("_homes", {}).get(name, ("", ""))
        if not home:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), inside)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        home, inside = self.__dict__.get("_homes", {}).get(name, ("", ""))
        if isinstance(value, ModuleType) and value.__name__ == home:
            value = getattr(value, inside)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__.get("_homes", {})})


def lazy(package: str, kind: type[LazyPackage] = LazyPackage) -> None:
    """Make ``package`` import on first use what its ``if TYPE_CHECKING:`` block imports.

    Args:
        package: ``__name__`` of the package, whose source is read.
        kind: class of the package.
    """
    module = sys.modules[package]
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    module.__dict__["_homes"] = {name: home for name, *home in imports(tree)}
    module.__class__ = kind


def imports(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Each name that a module imports at its top or for type checkers, with module and name there.

    Example:
        >>> import ast
        >>> from fl_platform.core.lazy import imports
        >>> list(imports(ast.parse("from a.b import c as d")))
        [('d', 'a.b', 'c')]
    """
    for statement in tree.body:
        block = [statement]
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            block = statement.body
        for each in block:
            if isinstance(each, ast.ImportFrom) and each.level == 0 and each.module:
                for alias in each.names:
                    yield alias.asname or alias.name, each.module, alias.name
