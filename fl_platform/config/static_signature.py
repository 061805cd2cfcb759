"""A rule's signature read from its source, to refuse a configuration without importing torch.

Only source that needs no execution is read: names that a package re-exports, literals, and type
expressions of the few names below. For anything else the result is ``None``, and the rule is
imported and inspected instead.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import fl_platform
from fl_platform.config.targets import public_names
from fl_platform.core import constraints as marks
from fl_platform.core.lazy import imports

_TYPES = (bool, dict, float, int, list, str, tuple, Path, Sequence)
_MARKS = (marks.Above, marks.AtLeast, marks.Below, marks.Between)
WORDS: dict[str, Any] = {kind.__name__: kind for kind in (*_TYPES, *_MARKS)}
WORDS |= {"Any": Any, "Annotated": Annotated, "Literal": Literal}


class _UnreadableError(Exception):
    """Source that cannot be read without execution."""


@dataclass(frozen=True)
class Signature:
    """The signature of a rule, from its source.

    Attributes:
        hints: type of each keyword-only parameter, with its constraints.
        defaults: default values of parameters that have one.
        gives: name of the class that a call returns.
        free: positional parameters of a class's constructor, without ``seed``.
        first: name of the first positional parameter of a call.
    """

    hints: dict[str, Any]
    defaults: dict[str, Any]
    gives: str
    free: tuple[str, ...] = ()
    first: str = ""


def read_signature(target: str) -> Signature | None:
    """The signature of a public rule of this package, or None if it must be imported."""
    package, _, name = target.rpartition(".")
    try:
        home = _module(package).imports.get(name, ("", ""))
        if not home[0].startswith(package + "."):
            return None
        return _signature(_module(home[0]), home[1])
    except (_UnreadableError, OSError, SyntaxError, TypeError, ValueError, RecursionError):
        return None


def read_labels(package: str) -> dict[str, str]:
    """The printed names of the public rules of a package of this project, by name.

    Read from ``@rule(label="...")`` without an import, so a report does not import torch.
    """
    labels = {}
    for name in filter(str.islower, public_names(_file(package))):
        module, inside = _module(package).imports.get(name, (package, name))
        definition = _module(module).definitions.get(inside)
        if isinstance(definition, ast.Name):  # bucketing = Bucketing
            definition = _module(module).definitions.get(definition.id)
        for mark in getattr(definition, "decorator_list", []):
            for stated in getattr(mark, "keywords", []):
                if stated.arg == "label" and isinstance(stated.value, ast.Constant):
                    labels[name] = str(stated.value.value)
    return labels


@dataclass(frozen=True)
class _Module:
    """The names at a module's top level: its definitions and its imports."""

    definitions: dict[str, ast.AST]
    imports: dict[str, tuple[str, str]]


def _file(name: str) -> Path:
    first, *rest = name.split(".")
    if first != "fl_platform":
        raise _UnreadableError(name)
    place = Path(fl_platform.__file__).parent.joinpath(*rest)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _module(name: str) -> _Module:
    file = _file(name)
    return _parsed(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _parsed(file: Path, changed: int) -> _Module:
    definitions: dict[str, ast.AST] = {}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            definitions[statement.name] = statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            definitions[statement.targets[0].id] = statement.value
    return _Module(definitions, {name: (home, inside) for name, home, inside in imports(tree)})


def _signature(module: _Module, name: str) -> Signature:
    definition = module.definitions.get(name)
    if isinstance(definition, ast.Name):  # bucketing = Bucketing
        definition = module.definitions.get(definition.id)
    free: tuple[str, ...] = ()
    if isinstance(definition, ast.ClassDef):
        methods = {m.name: m for m in definition.body if isinstance(m, ast.FunctionDef)}
        if "__init__" not in methods or "__call__" not in methods:
            raise _UnreadableError(name)
        call, answer = methods["__init__"], methods["__call__"]
        places = call.args.posonlyargs + call.args.args
        free = tuple(p.arg for p in places[1:] if p.arg != "seed")
    elif isinstance(definition, ast.FunctionDef):
        call = answer = definition
    else:
        raise _UnreadableError(name)
    if call.args.vararg or call.args.kwarg:
        raise _UnreadableError(name)
    hints, defaults = {}, {}
    for parameter, default in zip(call.args.kwonlyargs, call.args.kw_defaults, strict=True):
        hints[parameter.arg] = _value(parameter.annotation, module)
        if default is not None:
            defaults[parameter.arg] = _value(default, module)
    returned = answer.returns
    gives = returned.attr if isinstance(returned, ast.Attribute) else getattr(returned, "id", "")
    takes = [p.arg for p in answer.args.posonlyargs + answer.args.args if p.arg != "self"]
    return Signature(hints, defaults, gives, free, takes[0] if takes else "")


def _value(node: ast.AST | None, module: _Module) -> Any:
    """The value of a type or a default, for the few forms that this project uses."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in module.definitions:
        return _value(module.definitions[node.id], module)
    if isinstance(node, ast.Name) and node.id in WORDS:
        return WORDS[node.id]
    if isinstance(node, ast.Name) and node.id in module.imports:
        source, name = module.imports[node.id]
        return _value(ast.Name(name), _module(source))
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, module) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, module)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _value(node.left, module) | _value(node.right, module)
    if isinstance(node, ast.Subscript):
        return _value(node.value, module)[_value(node.slice, module)]
    if isinstance(node, ast.Call) and not node.keywords:
        mark = _value(node.func, module)
        if inspect.isclass(mark) and mark.__module__ == marks.__name__:
            return mark(*(_value(item, module) for item in node.args))
    raise _UnreadableError(ast.dump(node) if node is not None else "no annotation")
