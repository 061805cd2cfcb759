"""The decorator of rules: parameters before or with the call, a tensor or `Updates`, and facts.

``@rule`` is used without arguments or with facts of the rule, which the report, the metrics and
the distributed trainer read: ``@rule(label="Krum", tolerates=..., shardable=True)``.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
C = TypeVar("C", bound=type)

ROWS = ("updates", "honest")  # names of the first parameter of a rule over rows
AGNOSTIC = ("update", "labels")  # and of an attack that receives its own client's alone


class Rule(Protocol[P, R_co]):
    """A rule: a call with updates computes; a call with parameters only returns a partial."""

    __name__: str
    facts: Facts

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __call__(self, **parameters: Any) -> Callable[..., R_co]: ...


@dataclass(frozen=True)
class Facts:
    """Facts that a rule states.

    Attributes:
        label: printed name in tables and figures.
        tolerates: function n -> largest accepted f; ``None``: a minority. It is also given the
            settings of the rule that it names as keywords.
        kappa: function ``(n, f, **parameters)`` -> constant of (f, kappa)-robustness; infinite
            if the rule has none, ``None`` if none is known for these parameters.
        shardable: ``True`` if the rule works on some of the coordinates of all rows because
            every sum along a row is computed by `Updates`; a text with the reason if it does
            not; a function of the rule object with one of these results; ``None``: not stated.
        trims: function ``(n, f, **parameters)`` -> number of values cut at each end of a sorted
            coordinate; ``None`` for a rule that does not sort coordinates.
    """

    label: str | None = None
    tolerates: Callable[..., int] | None = None
    kappa: Callable[..., float | None] | None = None
    shardable: bool | str | Callable[[Any], bool | str] | None = None
    trims: Callable[..., int] | None = None


class _Marks(Protocol):
    """The result of ``@rule(...)``: a decorator of a function or of a class."""

    @overload
    def __call__(self, function: C) -> C: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, R]) -> Rule[P, R]: ...


@overload
def rule(
    *,
    label: str | None = None,
    tolerates: Callable[..., int] | None = None,
    kappa: Callable[..., float | None] | None = None,
    shardable: bool | str | Callable[[Any], bool | str] | None = None,
    trims: Callable[..., int] | None = None,
) -> _Marks: ...


@overload
def rule(function: C) -> C: ...  # type: ignore[overload-overlap]


@overload
def rule(function: Callable[P, R]) -> Rule[P, R]: ...


def rule(function: Any = None, **facts: Any) -> Any:
    """Mark a function, or a class with ``__call__``, as a rule.

    Without updates a function returns itself with its parameters set:
    ``strike(honest, 10, nu=0.5)`` and ``strike(nu=0.5)(honest, 10)`` are the same call. Rows are
    an ``(m, d)`` tensor or `Updates`; a tensor is wrapped before the rule receives it.

    Args:
        function: the function or class; omitted if facts are given.
        facts: fields of `Facts`.

    Raises:
        TypeError: an unknown parameter, raised at once rather than in the first round; rows that
            are neither a tensor nor `Updates`.
        ValueError: f above the limit of the rule.

    Example:
        >>> import torch
        >>> from fl_platform.attacks import ipm
        >>> honest = torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]])
        >>> bool((ipm(honest, 2, scale=0.5) == ipm(scale=0.5)(honest, 2)).all())
        True
    """
    if function is None:
        return functools.partial(rule, **facts)
    stated = replace(facts_of(function), **facts)  # facts stated by an inner decorator are kept
    limit = None if stated.tolerates is None else _at_least_none(stated.tolerates)
    if inspect.isclass(function):
        made: Any = function
        made.__call__ = _door(made.__call__, snake_case(made.__name__), limit)
    else:
        made = _waiting(_door(function, getattr(function, "__name__", "rule"), limit))
    made.facts = stated
    if limit is not None:
        made.largest_f = staticmethod(limit) if inspect.isclass(made) else limit
    return made


def snake_case(name: str) -> str:
    """``CenteredClipping`` as in configurations and messages: ``centered_clipping``."""
    return re.sub("(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()


def facts_of(rule: Any) -> Facts:
    """The facts of a rule, of its instance, or of a partial of either; empty if none are stated."""
    rule = unwrapped(rule)
    stated = getattr(rule, "facts", None)
    if isinstance(stated, Facts):
        return stated
    return Facts(
        tolerates=getattr(rule, "largest_f", None), shardable=getattr(rule, "shardable", None)
    )


def largest_f(rule: Callable[..., Any], n: int) -> int:
    r"""The largest f that ``rule`` accepts with n rows; a minority if the rule states none.

    .. math:: f_{\max} = \max(0, \text{limit}(n)), \text{ or }
        \lfloor (n - 1) / 2 \rfloor \text{ if none is stated}

    Args:
        rule: a rule, an instance of one, a chain, or a partial of any of them.
        n: number of rows, at least 1.

    Example:
        >>> from fl_platform.defenses import krum, largest_f, median
        >>> largest_f(median, 50), largest_f(krum, 50)
        (24, 23)
    """
    stated = getattr(unwrapped(rule), "largest_f", None)
    if stated is None:
        return (n - 1) // 2
    return int(stated(n, **settings_of(rule)) if hasattr(stated, "looks_at") else stated(n))


def unwrapped(rule: Any) -> Any:
    """The function or object inside any number of partials."""
    while isinstance(rule, partial):
        rule = rule.func
    return rule


def settings_of(rule: Any) -> dict[str, Any]:
    """The keyword-only parameters of a rule with the values of a call."""
    given: dict[str, Any] = {}
    while isinstance(rule, partial):
        given = dict(rule.keywords) | given
        rule = rule.func
    kinds = inspect.signature(type(rule) if not inspect.isroutine(rule) else rule).parameters
    own = {p.name: p.default for p in kinds.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    held = {} if inspect.isroutine(rule) else {k: getattr(rule, k, own[k]) for k in own}
    return own | held | {k: v for k, v in given.items() if k in own}


def first_parameters(rule: Any) -> list[str]:
    """The names of a rule's positional parameters; they determine its kind.

    Example:
        >>> from fl_platform.attacks import strike
        >>> from fl_platform.core.rule import first_parameters
        >>> first_parameters(strike)
        ['honest', 'num_byzantine']
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(rule).parameters.values()
    return [p.name for p in parameters if p.kind in kinds]


def is_agnostic(rule: Any) -> bool:
    """True if an attack receives only its own client's ``update`` or ``labels``."""
    return first_parameters(rule)[:1] in ([name] for name in AGNOSTIC)


def _at_least_none(limit: Callable[..., int]) -> Callable[..., int]:
    """At least 0: f = 0 is allowed for every rule and every n >= 1.

    The limit is given those settings that it names.
    """
    named = inspect.signature(limit).parameters.values()
    looks_at = {p.name for p in named if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def stated_limit(n: int, **settings: Any) -> int:
        return max(limit(n, **{k: v for k, v in settings.items() if k in looks_at}), 0)

    if looks_at:
        stated_limit.looks_at = looks_at  # type: ignore[attr-defined]
    return stated_limit


def _waiting(function: Callable[P, R]) -> Rule[P, R]:
    parameters = inspect.signature(function).parameters.values()
    keywords = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    inputs = {p.name for p in parameters} - keywords
    name = getattr(function, "__name__", "rule")

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        if args or given.keys() & inputs:
            return function(*args, **given)
        unknown = sorted(given.keys() - keywords)
        if unknown:
            known = ", ".join(sorted(keywords)) or "none"
            raise TypeError(f"{name} has no parameter {', '.join(unknown)}; parameters: {known}.")
        return functools.partial(call, **given)

    return cast("Rule[P, R]", call)


def _door(
    function: Callable[..., Any], name: str, limit: Callable[..., int] | None
) -> Callable[..., Any]:
    """``function`` with a tensor of rows wrapped as `Updates`, and f checked against ``limit``."""
    names = list(inspect.signature(function).parameters)
    rows = next((parameter for parameter in names if parameter in ROWS), None)
    if rows is None or "num_byzantine" not in names:
        return function
    place, count = names.index(rows), names.index("num_byzantine")

    @functools.wraps(function)
    def admitted(*args: Any, **given: Any) -> Any:
        if len(args) > place:
            args = (*args[:place], as_updates(args[place], name, rows), *args[place + 1 :])
        elif rows in given:
            given = given | {rows: as_updates(given[rows], name, rows)}
        if limit is not None and (len(args) > place or rows in given):
            updates = args[place] if len(args) > place else given[rows]
            if len(args) > count or "num_byzantine" in given:
                f = args[count] if len(args) > count else given["num_byzantine"]
                _check_count(name, f, len(updates), limit(len(updates), **given))
        return function(*args, **given)

    return admitted


def as_updates(rows: Any, name: str = "the rule", parameter: str = "updates") -> Any:
    """``rows`` as `Updates`: unchanged, or a wrapped tensor.

    Raises:
        TypeError: another type.
        ValueError: a tensor that is not an ``(m, d)`` matrix of floating-point numbers.
    """
    from torch import Tensor

    from fl_platform.core.updates import Updates

    if isinstance(rows, Updates):
        return rows
    if isinstance(rows, Tensor):
        return Updates(rows)
    raise TypeError(
        f"Expected {name}'s {parameter} as an (m, d) tensor or fl_platform.core.Updates,"
        f" got {type(rows).__name__}."
    )


def _check_count(name: str, f: object, n: int, most: int) -> None:
    if isinstance(f, bool) or not isinstance(f, int) or not 0 <= f <= most:
        raise ValueError(
            f"Expected num_byzantine as a whole number from 0 to {most}, the limit of {name}"
            f" for n={n} rows, got f={f!r}; lower f, take more clients, or choose another rule."
        )
