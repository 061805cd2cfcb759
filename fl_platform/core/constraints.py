"""Ranges of a rule's parameters, stated in its signature and checked by the configuration.

A keyword-only parameter is configuration. Its annotation states the type, and a constraint in
``Annotated`` states the range: ``nu: Annotated[float, AtLeast(0)] = 1.0``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class AtLeast:
    """Finite and at least ``low``.

    Example:
        >>> from fl_platform.core.constraints import AtLeast
        >>> AtLeast(0).holds(0), AtLeast(0).holds(-1), str(AtLeast(0))
        (True, False, 'a finite number >= 0')
    """

    low: float

    def holds(self, value: float) -> bool:
        """True if ``value`` is finite and at least ``low``."""
        return math.isfinite(value) and value >= self.low

    def __str__(self) -> str:
        return f"a finite number >= {self.low:g}"


@dataclass(frozen=True)
class Above:
    """Finite and above ``low``."""

    low: float

    def holds(self, value: float) -> bool:
        """True if ``value`` is finite and above ``low``."""
        return math.isfinite(value) and value > self.low

    def __str__(self) -> str:
        return f"a finite number > {self.low:g}"


@dataclass(frozen=True)
class Below:
    """Finite and below ``high``."""

    high: float

    def holds(self, value: float) -> bool:
        """True if ``value`` is finite and below ``high``."""
        return math.isfinite(value) and value < self.high

    def __str__(self) -> str:
        return f"a finite number < {self.high:g}"


@dataclass(frozen=True)
class Between:
    """From ``low`` to ``high``, both included.

    Example:
        >>> from fl_platform.core.constraints import Between
        >>> Between(0, 1).holds(1), str(Between(0, 1))
        (True, 'a number from 0 to 1')
    """

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """True if ``value`` lies from ``low`` to ``high``."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"
