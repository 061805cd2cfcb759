"""How many Byzantine rows a rule can bear: stated beside the rule, checked at each call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

from fl_platform.core import Updates

Rule = TypeVar("Rule", bound=Callable[..., Any])


def tolerates(limit: Callable[[int], int]) -> Callable[[Rule], Rule]:
    """State the largest legal f for n rows; calls with more are refused.

    f = 0 is legal for every rule and every n >= 1: there is nobody to tolerate.

    Args:
        limit: n -> the largest f, e.g. ``lambda n: (n - 3) // 2``.
    """

    def stated_limit(n: int) -> int:
        return max(limit(n), 0)

    def mark(rule: Rule) -> Rule:
        checked: Any = rule
        if inspect.isclass(rule):
            name = re.sub("(?<=[a-z])(?=[A-Z][a-z])", "_", rule.__name__).lower()
            checked.__call__ = _checked(checked.__call__, name, stated_limit)
            checked.largest_f = staticmethod(stated_limit)
        else:
            checked = _checked(rule, rule.__name__, stated_limit)
            checked.largest_f = stated_limit
        return cast(Rule, checked)

    return mark


def largest_f(rule: Callable[..., Any], n: int) -> int:
    """The largest f that ``rule`` accepts with n rows; a minority where the rule does not say.

    Args:
        rule: a rule, an instance of one, a chain, or a partial of any of them.
        n: number of rows, at least 1.

    Example:
        >>> from fl_platform.defenses import krum, largest_f, median
        >>> largest_f(median, 50), largest_f(krum, 50)
        (24, 23)
    """
    while isinstance(rule, partial):
        rule = rule.func
    stated = getattr(rule, "largest_f", None)
    return int(stated(n)) if stated is not None else (n - 1) // 2


def _checked(call: Callable[..., Any], name: str, limit: Callable[[int], int]) -> Any:
    """``call`` behind a check of its first two arguments, wherever ``self`` puts them."""
    first = list(inspect.signature(call).parameters).index("updates")

    @wraps(call)
    def checked(*args: Any, **parameters: Any) -> Any:
        given = inspect.getcallargs(call, *args, **parameters) if len(args) < first + 2 else None
        updates = given["updates"] if given else args[first]
        f = given["num_byzantine"] if given else args[first + 1]
        _check(name, updates, f, limit)
        return call(*args, **parameters)

    return checked


def _check(name: str, updates: object, f: object, limit: Callable[[int], int]) -> None:
    if not isinstance(updates, Updates):
        raise TypeError(
            f"Expected {name}'s updates as fl_platform.core.Updates, got"
            f" {type(updates).__name__}; wrap an (m, d) tensor as Updates(matrix)."
        )
    n = len(updates)
    if isinstance(f, bool) or not isinstance(f, int) or not 0 <= f <= limit(n):
        raise ValueError(
            f"Expected num_byzantine as a whole number from 0 to {limit(n)}, the limit of {name}"
            f" for n={n} rows, got f={f!r}; lower f, take more clients, or choose another rule."
        )
