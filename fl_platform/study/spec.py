"""Study files: base, space, direction, seeds, sampler, pruner, budget, final comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.trial import Trial

from fl_platform.config import ConfigError, looked_in
from fl_platform.config.errors import nearest, shown
from fl_platform.config.paths import tuning_files
from fl_platform.config.validation import build_dataclass
from fl_platform.core.outside import OutsideError, read_yaml

MOST_SEEDS = 10_000  # of a final comparison
LARGEST_OFFSET = 2**52  # the seeds above it are still below 2**53, which tables print exactly


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; integers if both bounds are integers.

    Attributes:
        log: whether to sample the logarithm uniformly.
        step: distance of the grid of values.
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
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            width = self.high - self.low
            raise ValueError(f"step: expected above 0 and at most {width}, got {self.step}.")

    def holds(self, value: Any) -> bool:
        """True for a number in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low} to {self.high}"

    def suggest(self, trial: Trial, key: str) -> Any:
        """Draw the trial's number for ``key``."""
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return trial.suggest_int(key, low, high, step=step or 1, log=self.log)
        return trial.suggest_float(key, low, high, step=step, log=self.log)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One of several values: names of config files, words or numbers."""

    choices: list[bool | int | float | str]

    def __post_init__(self) -> None:
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError(f"choices: expected each value once, got {self.choices}.")

    def holds(self, value: Any) -> bool:
        """True for one of the choices."""
        return any(value == choice and type(value) is type(choice) for choice in self.choices)

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.choices))}"

    def suggest(self, trial: Trial, key: str) -> Any:
        """Draw the trial's choice for ``key``."""
        return trial.suggest_categorical(key, self.choices)


Space = Mapping[str, Range | Choices]


def parse_space(node: Any, key: str) -> dict[str, Range | Choices]:
    """Parse the space of a study file: ``{attack.nu: {low: 0.1, high: 4.0, log: true}}``.

    Raises:
        ConfigError: the node is not a mapping, or a range is empty.
    """
    if not isinstance(node, Mapping) or not node:
        raise ConfigError(
            f"{key}: expected a mapping of keys to ranges or choices, got {shown(node)}."
        )
    space: dict[str, Range | Choices] = {}
    for name, entry in node.items():
        if name == "seed":
            raise ConfigError(
                f"{key}.seed: expected no seed; the key seeds lists those of a trial."
            )
        chosen = isinstance(entry, Mapping) and "choices" in entry
        kind: type[Range | Choices] = Choices if chosen else Range
        space[str(name)] = build_dataclass(kind, entry, f"{key}.{name}")
    return space


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """Draw the trial's value for every key, in the order of the file."""
    return {key: entry.suggest(trial, key) for key, entry in space.items()}


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Values as overrides: ``attack.nu=0.75``; numbers keep all digits."""
    return [f"{key}={str(v).lower() if isinstance(v, bool) else v}" for key, v in values.items()]


Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Optuna's sampler by short name, with its options."""

    name: Literal["tpe", "gp", "cmaes", "qmc", "random", "nsga2"] = "tpe"
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
    """Limits of a study.

    Attributes:
        trials: total number of trials.
        timeout: seconds after which a worker starts no trial.
    """

    trials: int = 20
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials: expected a number >= 1, got {self.trials}.")
        if self.timeout is not None and self.timeout < 0:
            raise ValueError(f"timeout: expected seconds >= 0, got {self.timeout}.")


@dataclass(frozen=True, kw_only=True)
class Final:
    """Final comparison on test data.

    Attributes:
        seeds: number of fresh seeds.
        offset: first fresh seed.
    """

    seeds: int = 5
    offset: int = 1000

    def __post_init__(self) -> None:
        if not 2 <= self.seeds <= MOST_SEEDS:
            expected = f"a number from 2, for an interval, to {MOST_SEEDS}"
            raise ValueError(f"seeds: expected {expected}, got {self.seeds}.")
        if self.offset > LARGEST_OFFSET:
            raise ValueError(f"offset: expected at most 2**52, got {self.offset}.")


@dataclass(frozen=True, kw_only=True)
class MinimaxSpec:
    """Minimax study, ``game:`` in the file; see `fl_platform.study.minimax`.

    Attributes:
        attacks: attack name -> search space of its strength.
        turns: number of turns; the first one tunes the attacks. Odd, so the last one does too.
        attack_trials, defense_trials: number of trials per problem of a turn.
    """

    attacks: dict[str, Any]
    turns: int = 3
    attack_trials: int = 8
    defense_trials: int = 12

    def __post_init__(self) -> None:
        if self.turns < 1 or self.turns % 2 == 0:
            raise ValueError(f"turns: expected an odd number, got {self.turns}.")
        if min(self.attack_trials, self.defense_trials) < 1:
            got = f"{self.attack_trials} and {self.defense_trials}"
            raise ValueError(f"attack_trials, defense_trials: expected numbers >= 1, got {got}.")
        if not self.attacks:
            raise ValueError("attacks: expected at least one attack with its space.")


@dataclass(frozen=True, kw_only=True)
class FrontSpec:
    """Two objectives, ``front:`` in the file: accuracy without attack and worst-case accuracy.

    Attributes:
        attacks: overrides of each attack, such as ``attack=lie attack.z=1.5``; the lowest of their
            accuracies is the worst case.
    """

    attacks: list[str]

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("attacks: expected at least one line of overrides, got none.")
        for line in self.attacks:
            if not line.startswith("attack=") or line.split()[0] in ("attack=none", "attack="):
                raise ValueError(f"attacks: expected lines such as 'attack=lie', got {line!r}.")


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A file of ``tuning/``; docs/tuning.md explains its keys.

    Attributes:
        base: overrides of every trial; overrides on the command line replace them.
        start: points of the first trials, including the default.
        metric: value of a trial, computed on validation data.
        stealth: weight constraint: maximal weight of the Byzantine updates, as a multiple of their
            fair share. Default: none.
        front: two objectives in place of one. Its space defaults to that of the defense's file.
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
    game: MinimaxSpec | None = None
    front: FrontSpec | None = None

    def __post_init__(self) -> None:
        self._check_seeds()
        if any(text.partition("=")[0] == "seed" for text in self.base):
            raise ValueError("base: expected no seed; the key seeds lists those of a trial.")
        if self.front is not None:
            self._check_front()
        elif bool(self.space) == (self.game is not None):
            raise ValueError("space: expected either space or game, got both or neither.")

    def _check_front(self) -> None:
        for key, expected, got in (
            ("direction", "maximize", self.direction),
            ("pruner.name", "none", self.pruner.name),
            ("stealth", None, self.stealth),
            ("game", None, self.game),
        ):
            if got != expected:
                raise ValueError(f"{key}: expected {expected or 'null'} with front, got {got}.")
        if self.sampler.name == "cmaes":
            raise ValueError(
                "sampler.name: expected nsga2, tpe, gp, qmc or random with front, got cmaes, which"
                " has one objective."
            )

    def _check_seeds(self) -> None:
        if len(set(self.seeds)) < 2 or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected two different seeds or more, got {self.seeds}.")
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds: expected numbers >= 0, got {self.seeds}.")
        fresh = range(self.final.offset, 2**62)
        if any(seed in fresh for seed in self.seeds):
            text = f"seeds: expected all below final.offset={self.final.offset}, got {self.seeds}."
            raise ValueError(text)

    @property
    def varied(self) -> dict[str, Range | Choices]:
        """The space, parsed."""
        return parse_space(self.space, "space")


def read_tuning(name: str, home: Path) -> dict[str, Any]:
    """The content of ``tuning/<name>.yaml``.

    Raises:
        ConfigError: the file is missing or cannot be read.
    """
    files = tuning_files(home)
    if name not in files:
        close, has = nearest(name, files), ", ".join(files)
        where = looked_in(sorted({path.parent for path in files.values()}))
        raise ConfigError(f"tuning: there is no '{name}'{close} There are: {has}.{where}")
    try:
        return read_yaml(files[name])
    except OutsideError as error:
        raise ConfigError(str(error)) from None


def load_spec(name: str, home: Path) -> StudySpec:
    """Read ``tuning/<name>.yaml``.

    Raises:
        ConfigError: the file is missing or invalid, or a setting is unknown or out of range.
    """
    tree = read_tuning(name, home)
    spec = build_dataclass(StudySpec, tree, name)
    if spec.space:
        _check_start(spec.start, parse_space(spec.space, f"{name}.space"), f"{name}.start")
    for attack, space in (spec.game.attacks if spec.game else {}).items():
        parse_space(space, f"{name}.game.attacks.{attack}")
    return spec


def _check_start(start: list[dict[str, Any]], space: Space, key: str) -> None:
    """Refuse points outside of the space: Optuna draws others in their place."""
    for i, point in enumerate(start):
        for name, value in point.items():
            if name not in space:
                known = ", ".join(space)
                raise ConfigError(f"{key}.{i}.{name}: expected a key of the space: {known}.")
            if not space[name].holds(value):
                expected = f"{space[name]}, as in the space"
                raise ConfigError(f"{key}.{i}.{name}: expected {expected}, got {shown(value)}.")
