"""A study file: base, space, direction, seeds, sampler, pruner, budget, the final comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import fl_platform
from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest
from fl_platform.config.validation import build_dataclass
from fl_platform.core.outside import OutsideError, read_yaml
from fl_platform.study.space import Choices, Range, parse_space

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Who proposes trials: Optuna's sampler by its short name, with its own options."""

    name: Literal["tpe", "gp", "cmaes", "qmc", "random"] = "tpe"
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pruner:
    """Whether a trial may be given up before its end; ``none``: never.

    Attributes:
        percentile: what share of the complete trials a trial must not be behind, with that name.
        by: asked after each seed, or after each evaluation.
        warmup_seeds: by seeds, those that are always run.
        warmup_rounds: by rounds, what every run is given before anything is said of it.
        warmup_trials: nothing is given up before so many are complete.
    """

    name: Literal["none", "median", "percentile"] = "none"
    percentile: float = 25.0
    by: Literal["seeds", "rounds"] = "seeds"
    warmup_seeds: int = 1
    warmup_rounds: int | None = None
    warmup_trials: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile: expected above 0 and below 100, got {self.percentile}.")
        for name in ("warmup_seeds", "warmup_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a number >= 1, got {getattr(self, name)}.")
        if self.by == "seeds" and self.warmup_rounds is not None:
            raise ValueError(
                f"warmup_rounds: expected null with by: seeds, got {self.warmup_rounds}."
            )
        if self.by == "rounds" and (self.warmup_rounds is None or self.warmup_rounds < 1):
            raise ValueError(
                "warmup_rounds: expected a number >= 1 with by: rounds, as attacks that bite late"
                f" look harmless at first, got {self.warmup_rounds}."
            )
        if self.by == "rounds" and self.warmup_seeds != 1:
            raise ValueError(
                f"warmup_seeds: expected 1, its default, with by: rounds, got {self.warmup_seeds}."
            )


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
        raise ConfigError(f"tuning: there is no '{name}'{close} It has: {has}.")
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
