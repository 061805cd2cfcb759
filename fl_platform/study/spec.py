"""A study file: base, space, direction, seeds, sampler, pruner, budget, the final comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.trial import Trial

import fl_platform
from fl_platform.config import ConfigError, looked_in
from fl_platform.config.errors import nearest, shown
from fl_platform.config.validation import build_dataclass
from fl_platform.core.outside import OutsideError, read_yaml


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


Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Who proposes trials: Optuna's sampler by its short name, with its own options."""

    name: Literal["tpe", "gp", "cmaes", "qmc", "random"] = "tpe"
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pruner:
    """Early end of a trial after one of its seeds; ``none``: every trial runs all seeds.

    ``wilcoxon`` is Optuna's ``WilcoxonPruner``: a signed-rank test of the trial's seeds against the
    same seeds of the best trial. It needs four or five seeds before it can reject at 0.1.

    Attributes:
        p_threshold: significance below which a worse trial ends, above 0 and below 1.
        startup_seeds: seeds that every trial runs before the first test, at least 2.
    """

    name: Literal["none", "wilcoxon"] = "none"
    p_threshold: float = 0.1
    startup_seeds: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.p_threshold < 1:
            raise ValueError(f"p_threshold: expected above 0 and below 1, got {self.p_threshold}.")
        if self.startup_seeds < 2:
            raise ValueError(f"startup_seeds: expected a number >= 2, got {self.startup_seeds}.")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a worker that was given no number of its own stops."""

    trials: int = 20
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials: expected a number >= 1, got {self.trials}.")


@dataclass(frozen=True, kw_only=True)
class Final:
    """The one look at the test set: how many fresh seeds, and from where they are counted."""

    seeds: int = 5
    offset: int = 1000

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ValueError(f"seeds: expected a number >= 2, for an interval, got {self.seeds}.")


@dataclass(frozen=True, kw_only=True)
class Game:
    """Who plays for the maximum of the minimum.

    Attributes:
        attacks: attack name -> the space of its strength.
        turns: best responses in order, the attacker's first; odd, so that the attacker has the
            last word and no defense is praised for what nobody has tried against it.
        attack_trials, defense_trials: of one best response.
    """

    attacks: dict[str, Any]
    turns: int = 3
    attack_trials: int = 8
    defense_trials: int = 12

    def __post_init__(self) -> None:
        if self.turns < 1 or self.turns % 2 == 0:
            raise ValueError(f"turns: expected an odd number, got {self.turns}.")
        if not self.attacks:
            raise ValueError("attacks: expected at least one attack with its space.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a file of ``tuning/`` says; docs/tuning.md explains one line by line.

    Attributes:
        base: overrides that hold in every trial; what is typed wins over them.
        start: points that are tried first, the default among them.
        metric: what a trial is worth; only of samples held out of the training set.
        stealth: where set, at most so many times their fair share of weight for Byzantine rows.
    """

    base: list[str]
    space: dict[str, Any] = field(default_factory=dict)
    direction: Direction
    metric: Literal["validation_tail"] = "validation_tail"
    seeds: list[int]
    rounds: int | None = None
    start: list[dict[str, Any]] = field(default_factory=list)
    sampler: Sampler = field(default_factory=Sampler)
    pruner: Pruner = field(default_factory=Pruner)
    budget: Budget = field(default_factory=Budget)
    final: Final = field(default_factory=Final)
    stealth: float | None = None
    game: Game | None = None

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2 or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected two different seeds or more, got {self.seeds}.")
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds: expected numbers >= 0, got {self.seeds}.")
        fresh = range(self.final.offset, 2**62)
        if any(seed in fresh for seed in self.seeds):
            text = f"seeds: expected all below final.offset={self.final.offset}, got {self.seeds}."
            raise ValueError(text)
        if bool(self.space) == (self.game is not None):
            raise ValueError("space: expected either a space or a game, got both or neither.")

    @property
    def varied(self) -> dict[str, Range | Choices]:
        """The space, parsed."""
        return parse_space(self.space, "space")


def tuning_folder(home: Path) -> Path:
    """``home/tuning``, or the copy that came installed.

    Raises:
        ConfigError: there is neither.
    """
    package = Path(fl_platform.__file__).parent
    for folder in (home, package, package.parent):
        if any((folder / "tuning").glob("*.yaml")):
            return (folder / "tuning").resolve()
    raise ConfigError(f"--home: expected tuning/*.yaml in {str(home)!r}, found none.")


def load_plan(name: str, home: Path) -> Plan:
    """The plan in ``tuning/<name>.yaml``.

    Raises:
        ConfigError: no such file, no yaml, or a setting that is unknown or out of range.
    """
    files = {path.stem: path for path in sorted(tuning_folder(home).glob("*.yaml"))}
    if name not in files:
        close, has = nearest(name, files), ", ".join(files)
        where = looked_in([tuning_folder(home)])
        raise ConfigError(f"tuning: there is no '{name}'{close} It has: {has}.{where}")
    try:
        tree = read_yaml(files[name])
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    plan = build_dataclass(Plan, tree, name)
    if plan.space:
        parse_space(plan.space, f"{name}.space")
    for attack, space in (plan.game.attacks if plan.game else {}).items():
        parse_space(space, f"{name}.game.attacks.{attack}")
    return plan
