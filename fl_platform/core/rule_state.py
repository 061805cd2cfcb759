"""Rules with memory from round to round, and the check that a checkpoint can store it."""

from __future__ import annotations

import dis
import inspect
from typing import Any

from fl_platform.core.rule import unwrapped


def remembers(rule: Any) -> bool:
    """True if a rule object may change between calls.

    That is: a method other than its constructor assigns an attribute, or it has a container that
    can grow. Functions and partials of them count as rules without memory.
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
    """True if a rule can be saved and restored by ``state_dict`` and ``load_state_dict``."""
    rule = unwrapped(rule)
    return hasattr(rule, "state_dict") and hasattr(rule, "load_state_dict")


def refuse_lost_memory(rule: Any) -> None:
    """Raise if a rule object has memory that a checkpoint does not store.

    Raises:
        TypeError: the rule has memory and no ``state_dict`` or no ``load_state_dict``.
    """
    if remembers(rule) and not keeps_state(rule):
        name = type(unwrapped(rule)).__name__
        raise TypeError(
            f"Expected {name}, a rule that changes between rounds, to have state_dict() and"
            " load_state_dict(state), since a resumed run must equal an uninterrupted one;"
            " return the state of the next call, {} if there is none."
        )
