"""The number of Byzantine rows that a rule tolerates: stated on the rule, checked at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fl_platform.core.rule import largest_f, rule

__all__ = ["largest_f", "tolerates"]


def tolerates(limit: Callable[[int], int]) -> Callable[[Any], Any]:
    r"""State the largest allowed f for n rows: short for ``rule(tolerates=limit)``.

    .. math:: 0 \le f \le \max(0, \text{limit}(n))

    f = 0 is allowed for every rule and every n >= 1.

    Args:
        limit: function n -> largest f, e.g. ``lambda n: (n - 3) // 2``.
    """
    return rule(tolerates=limit)
