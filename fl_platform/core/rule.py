"""Let a rule be given its parameters first and its updates later: ``strike(nu=0.5)``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Rule(Protocol[P, R_co]):
    """A rule: called in full it answers, called with parameters alone it waits for updates."""

    __name__: str

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __call__(self, **parameters: Any) -> Callable[..., R_co]: ...


def rule(function: Callable[P, R]) -> Rule[P, R]:
    """Mark a function as a rule: without updates it returns itself with parameters set.

    ``strike(honest, 10, nu=0.5)`` and ``strike(nu=0.5)(honest, 10)`` are the same call, so a
    function and a rule that is constructed first (bucketing, centered clipping) read alike.

    Raises:
        TypeError: a parameter that the rule does not have, at once rather than in the first round.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import ipm
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> bool((ipm(honest, 2, scale=0.5) == ipm(scale=0.5)(honest, 2)).all())
        True
    """
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
            raise TypeError(f"{name} has no parameter {', '.join(unknown)}; it knows: {known}.")
        return functools.partial(call, **given)

    return cast("Rule[P, R]", call)


def first_parameters(rule: Any) -> list[str]:
    """The names of a rule's positional parameters; they tell its kind.

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
    """Whether an attack sees nothing but its own client: it takes an ``update`` or ``labels``."""
    return first_parameters(rule)[:1] in (["update"], ["labels"])
