"""What a rule's parameters may be: marks that a signature carries and the config layer checks.

A keyword-only parameter is configuration. Its type says the kind of value, and a mark in
``Annotated`` says the range: ``nu: Annotated[float, AtLeast(0)] = 1.0``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class AtLeast:
    """Finite and not below ``low``.

    Example:
        >>> from fl_platform.core.constraints import AtLeast
        >>> AtLeast(0).holds(0), AtLeast(0).holds(-1), str(AtLeast(0))
        (True, False, 'a finite number >= 0')
    """

    low: float

    def holds(self, value: float) -> bool:
        """Whether ``value`` is finite and at least ``low``."""
        return math.isfinite(value) and value >= self.low

    def __str__(self) -> str:
        return f"a finite number >= {self.low:g}"


@dataclass(frozen=True)
class Above:
    """Finite and above ``low``."""

    low: float

    def holds(self, value: float) -> bool:
        """Whether ``value`` is finite and above ``low``."""
        return math.isfinite(value) and value > self.low

    def __str__(self) -> str:
        return f"a finite number > {self.low:g}"


@dataclass(frozen=True)
class Between:
    """From ``low`` to ``high``, both allowed.

    Example:
        >>> from fl_platform.core.constraints import Between
        >>> Between(0, 1).holds(1), str(Between(0, 1))
        (True, 'a number from 0 to 1')
    """

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies from ``low`` to ``high``."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"
