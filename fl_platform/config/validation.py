"""The check of a value against a type, for the root and for every rule.

Stricter than a conversion: ``rounds=1e3``, ``rounds=true`` and ``nu='1'`` are refused, since they
are probably typing errors. Only an integer in place of a real number is accepted, and converted,
so that ``1`` and ``1.0`` are one configuration.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fl_platform.config.errors import ConfigError, nearest, shown

T = TypeVar("T")
LARGEST = 2**63 - 1  # of a whole number: an int64 holds it
LARGEST_REAL = 3.4e38  # a float32 holds it
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "text"}


def fit(value: Any, hint: Any, key: str) -> Any:
    """``value`` in the type of ``hint``; a refusal names ``key``.

    Raises:
        ConfigError: another type, an unknown choice, out of range, NaN, infinite, or empty.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _in_range(fit(value, inner[0], key), inner[1:], key)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, hint, inner, key)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in inner):
            return value
        close = nearest(value, map(str, inner)) if isinstance(value, str) else "."
        raise ConfigError(f"{key}: expected {describe(hint)}, got {shown(value)}{close}")
    if origin in (list, tuple, Sequence):
        return _items(value, hint, origin, inner, key)
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build_dataclass(hint, value, key)
    return _scalar(value, hint, key)


def build_dataclass(cls: type[T], values: Any, key: str = "") -> T:
    """An instance of the dataclass ``cls`` from a mapping with every field checked.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing key, or a wrong value;
            a ``ValueError`` of ``__post_init__`` is passed on with ``key`` before it.
    """
    dot = f"{key}." if key else ""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key}: expected settings by name, got {shown(values)}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls, include_extras=True)
    for name in values:
        if name not in fields:
            raise ConfigError(
                f"{dot}{name}: there is no such setting{nearest(str(name), fields)}"
                f" Expected one of: {', '.join(fields)}."
            )
    for name, field in fields.items():
        free = (field.default, field.default_factory) == (dataclasses.MISSING,) * 2
        if free and name not in values:
            raise ConfigError(f"{dot}{name} is missing; expected {describe(hints[name])}.")
    given = [name for name in fields if name in values]
    fitted = {name: fit(values[name], hints[name], dot + name) for name in given}
    try:
        return cls(**fitted)
    except ValueError as error:
        raise ConfigError(f"{dot}{error}") from None


def describe(hint: Any) -> str:
    """The description of a type for an error message."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return " and ".join(str(mark) for mark in inner[1:])
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(kind) for kind in inner))
    if origin is tuple and Ellipsis not in inner:
        return f"[{', '.join(describe(kind) for kind in inner)}]"
    if origin in (list, tuple, Sequence):
        return f"a list, each {describe(inner[0])}"
    return "null" if hint is type(None) else WORDS.get(hint, "settings by name")


def _scalar(value: Any, hint: Any, key: str) -> Any:
    if hint in (int, float) and type(value) is int and abs(value) > LARGEST:
        told = "a number below 2**63, which 64 bits hold"
        raise ConfigError(f"{key}: expected {told}, got {shown(value)}.")
    if hint is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise ConfigError(f"{key}: expected a finite number, got {value}.")
        if abs(value) > LARGEST_REAL:
            told = f"a number of at most {LARGEST_REAL:g}, which a float32 holds"
            raise ConfigError(f"{key}: expected {told}, got {value}.")
        return float(value) + 0.0  # -0.0 and 0.0 are one value
    if (hint is type(None) and value is None) or (hint is Path and isinstance(value, str)):
        return value
    if hint in (bool, int, str) and type(value) is hint:
        return value
    raise ConfigError(f"{key}: expected {describe(hint)}, got {shown(value)}.")


def _in_range(value: Any, marks: Sequence[Any], key: str) -> Any:
    for mark in marks:
        for number in value if isinstance(value, list | tuple) else [value]:
            if number is not None and hasattr(mark, "holds") and not mark.holds(number):
                raise ConfigError(f"{key}: expected {mark}, got {shown(number)}.")
    return value


def _first_that_fits(value: Any, hint: Any, kinds: Sequence[Any], key: str) -> Any:
    refusals = []
    for kind in kinds:
        try:
            return fit(value, kind, key)
        except ConfigError as refusal:
            refusals.append((kind, refusal))
    real = [refusal for kind, refusal in refusals if kind is not type(None)]
    if len(real) == 1:
        raise real[0]
    raise ConfigError(f"{key}: expected {describe(hint)}, got {shown(value)}.")


def _items(value: Any, hint: Any, origin: Any, inner: Sequence[Any], key: str) -> Any:
    if not isinstance(value, list | tuple) or not value:
        got = "an empty list" if value == [] else shown(value)
        raise ConfigError(f"{key}: expected {describe(hint)}, got {got}.")
    fixed = origin is tuple and Ellipsis not in inner
    if fixed and len(inner) != len(value):
        raise ConfigError(f"{key}: expected {len(inner)} items, got {shown(value)}.")
    kinds = inner if fixed else [inner[0]] * len(value)
    items = [
        fit(item, kind, f"{key}.{i}")
        for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
    ]
    return tuple(items) if origin is tuple else items
