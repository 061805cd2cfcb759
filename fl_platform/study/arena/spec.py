"""Settings of an arena: the file ``tuning/arena.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from fl_platform.config.validation import build_dataclass
from fl_platform.core.constraints import Above, AtLeast
from fl_platform.study.spec import read_tuning


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Variants of the worst adaptive attackers; each changes one setting.

    Attributes:
        attackers: how many are varied.
        lengths: factors of ``attack.length``.
        scatter: values of ``attack.scatter``.
        periods: values of ``attack.period``.
        begins: shares of the rounds, for ``attack.begin``.
    """

    attackers: int = 4
    lengths: list[Annotated[float, Above(0)]] = field(default_factory=list)
    scatter: list[Literal["none", "honest", "orthogonal"]] = field(default_factory=list)
    periods: list[Annotated[int, AtLeast(0)]] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.attackers < 0:
            raise ValueError(f"attackers: expected a number >= 0, got {self.attackers}.")
        if not all(0 <= share < 1 for share in self.begins):
            raise ValueError(f"begins: expected shares from 0 to below 1, got {self.begins}.")


@dataclass(frozen=True, kw_only=True)
class LastStage:
    """The final numbers, on test data and fresh seeds.

    Attributes:
        attackers: how many of the worst are evaluated.
        per_family: how many of them may share attack and direction.
        seeds: fresh ones; none of the validation seeds.
        horizon: length of the final runs, as a multiple of the task's rounds.
        keep: share of the reference's accuracy below which an attack delays or damages.
        reached: share of the reference's accuracy whose first round is reported.
    """

    attackers: int = 8
    per_family: int = 2
    seeds: list[int]
    horizon: int = 2
    keep: float = 0.95
    reached: float = 0.8

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2 or min(self.seeds) < 0:
            expected = "two different ones or more, from 0"
            raise ValueError(f"seeds: expected {expected}, got {self.seeds}.")
        if min(self.attackers, self.per_family, self.horizon) < 1:
            raise ValueError("attackers, per_family and horizon: expected numbers >= 1.")
        if not (0 < self.keep <= 1 and 0 < self.reached <= 1):
            raise ValueError(
                f"keep, reached: expected shares in (0, 1], got {self.keep}, {self.reached}."
            )


@dataclass(frozen=True, kw_only=True)
class ArenaSpec:
    """A file of ``tuning/`` for ``fl-platform arena``; docs/arena.md explains its keys.

    Attributes:
        base: overrides of every run; overrides on the command line replace them.
        validation: share of the training samples on which attackers are selected.
        listed, adaptive: attacks as overrides; a sweep stands for all its values.
        seeds: of the validation runs.
        confirm: how many attackers meet all of ``seeds``.
        side_by_side: runs in one stack.
        seconds: time after which no batch of runs is started.
    """

    base: list[str] = field(default_factory=list)
    validation: float = 0.2
    listed: list[str] = field(default_factory=list)
    adaptive: list[str] = field(default_factory=list)
    refine: Refine = field(default_factory=Refine)
    seeds: list[int]
    confirm: int = 16
    final: LastStage
    side_by_side: int = 8
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation: expected a share in (0, 1), got {self.validation}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds: expected different ones, from 0, got {self.seeds}.")
        if any(text.partition("=")[0] in ("seed", "attack") for text in self.base):
            raise ValueError("base: expected neither seed nor attack; other keys list them.")
        if self.seconds is not None and self.seconds < 0:
            raise ValueError(f"seconds: expected a number >= 0, got {self.seconds}.")
        for key in ("listed", "adaptive"):
            for line in getattr(self, key):
                if not line.startswith("attack=") or line.split()[0] in ("attack=", "attack=none"):
                    expected = "overrides of an attack such as 'attack=lie attack.z=1.5'"
                    raise ValueError(f"{key}: expected {expected}, got {line!r}.")
        shared = sorted(set(self.seeds) & set(self.final.seeds))
        if shared:
            raise ValueError(f"final.seeds: expected none of the validation seeds, got {shared}.")
        if not self.listed and not self.adaptive:
            raise ValueError("listed, adaptive: expected at least one attack.")
        if self.side_by_side < 1 or self.confirm < 1:
            raise ValueError("side_by_side, confirm: expected numbers >= 1.")


def load_arena(name: str, home: Path) -> ArenaSpec:
    """Read ``tuning/<name>.yaml``.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    return build_dataclass(ArenaSpec, read_tuning(name, home), name)
