"""How many Byzantine rows a rule can bear: a fact that stands on the rule, checked at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fl_platform.core.rule import largest_f, rule

__all__ = ["largest_f", "tolerates"]


def tolerates(limit: Callable[[int], int]) -> Callable[[Any], Any]:
    """State the largest legal f for n rows, and nothing else: ``rule(tolerates=limit)``.

    f = 0 is legal for every rule and every n >= 1: there is nobody to tolerate.

    Args:
        limit: n -> the largest f, e.g. ``lambda n: (n - 3) // 2``.
    """
    return rule(tolerates=limit)
