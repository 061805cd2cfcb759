"""What a study may vary: ranges and choices by configuration key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial

from fl_platform.config import ConfigError
from fl_platform.config.errors import shown
from fl_platform.config.validation import build_dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends are.

    ``log`` searches orders of magnitude instead of values; ``step`` keeps to a grid.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low: expected a number below high={self.high}, got {self.low}.")
        if self.log and self.low <= 0:
            raise ValueError(f"low: expected a number > 0 for log, got {self.low}.")
        if self.log and self.step is not None:
            raise ValueError(f"step: expected null with log, got {self.step}.")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step: expected a number > 0, got {self.step}.")

    def suggest(self, trial: Trial, key: str) -> Any:
        """The trial's number for ``key``."""
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return trial.suggest_int(key, low, high, step=step or 1, log=self.log)
        return trial.suggest_float(key, low, high, step=step, log=self.log)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One of several values; names of a group's files, words or numbers."""

    choices: list[bool | int | float | str]

    def suggest(self, trial: Trial, key: str) -> Any:
        """The trial's choice for ``key``."""
        return trial.suggest_categorical(key, self.choices)


Space = Mapping[str, Range | Choices]


def parse_space(node: Any, key: str) -> dict[str, Range | Choices]:
    """The space that a study file describes: ``{attack.nu: {low: 0.1, high: 4.0, log: true}}``.

    Raises:
        ConfigError: not settings by name, or a range that holds nothing.
    """
    if not isinstance(node, Mapping) or not node:
        raise ConfigError(f"{key}: expected what to vary, by name, got {shown(node)}.")
    space: dict[str, Range | Choices] = {}
    for name, entry in node.items():
        chosen = isinstance(entry, Mapping) and "choices" in entry
        kind: type[Range | Choices] = Choices if chosen else Range
        space[str(name)] = build_dataclass(kind, entry, f"{key}.{name}")
    return space


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """The trial's value for every key, in the order of the file."""
    return {key: entry.suggest(trial, key) for key, entry in space.items()}


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """The values as a person would type them: ``attack.nu=0.75``; numbers keep every digit."""
    return [f"{key}={str(v).lower() if isinstance(v, bool) else v}" for key, v in values.items()]
