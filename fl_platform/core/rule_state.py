"""Whether a rule remembers something from round to round, and whether it can be saved."""

from __future__ import annotations

import dis
import inspect
from typing import Any

from fl_platform.core.rule import unwrapped


def remembers(rule: Any) -> bool:
    """Whether a rule object looks as if it changes from call to call.

    It does where a method other than its constructor assigns an attribute, or where it holds a
    container that can grow. Functions and partials of them are taken to remember nothing.
    """
    rule = unwrapped(rule)
    if inspect.isroutine(rule) or inspect.isclass(rule):
        return False
    if any(isinstance(value, list | dict | set | bytearray) for value in vars(rule).values()):
        return True
    makers = {"__init__", "__new__", "__post_init__", "__setattr__"}
    methods = {
        name: inspect.unwrap(method)
        for kind in reversed(type(rule).__mro__[:-1])
        for name, method in vars(kind).items()
        if inspect.isroutine(method) and name not in makers
    }
    return any(
        step.opname in ("STORE_ATTR", "DELETE_ATTR")
        for method in methods.values()
        if hasattr(method, "__code__")
        for step in dis.get_instructions(method)
    )


def keeps_state(rule: Any) -> bool:
    """Whether a rule can be saved and go on: it has ``state_dict`` and ``load_state_dict``."""
    rule = unwrapped(rule)
    return hasattr(rule, "state_dict") and hasattr(rule, "load_state_dict")


def refuse_lost_memory(rule: Any) -> None:
    """Raise where a rule object remembers something that a checkpoint would not hold.

    Raises:
        TypeError: the rule `remembers` and has no ``state_dict`` or no ``load_state_dict``.
    """
    if remembers(rule) and not keeps_state(rule):
        name = type(unwrapped(rule)).__name__
        raise TypeError(
            f"Expected {name}, a rule that changes between rounds, to have state_dict() and"
            " load_state_dict(state), else a resumed run would end elsewhere than an unbroken"
            " one; return what the next call depends on, {} where that is nothing."
        )
