"""A suite file: which experiment is repeated, how often, and what counts as drift."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fl_platform.config import ConfigError, conf_folders, looked_in
from fl_platform.config.errors import nearest
from fl_platform.config.hydra_tree import parse_overrides
from fl_platform.config.validation import build_dataclass
from fl_platform.core.outside import OutsideError, read_yaml

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@dataclass(frozen=True, kw_only=True)
class Bands:
    """What is called drift where bits cannot be compared.

    Attributes:
        level: chance that an unchanged tree alarms, over all cells of a suite together.
        margin: mean differences of at most so many percentage points are never drift.
    """

    level: float = 0.01
    margin: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.level <= 0.1:
            raise ValueError(f"level: expected above 0 and at most 0.1, got {self.level}.")
        if not 0 <= self.margin <= 50:
            raise ValueError(f"margin: expected points from 0 to 50, got {self.margin}.")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the suite runs, in UTC: no change to or from summer time doubles or skips a start."""

    every: Literal["day", "week"]
    at: str
    day: Weekday = "sunday"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.at):
            raise ValueError(f"at: expected a time of day in UTC such as '02:30', got {self.at!r}.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a file of ``conf/suite/`` says; docs/reproduction.md explains one line by line.

    Attributes:
        experiment: a file of ``conf/experiment/``; ``overrides`` win over it and its axes.
        seeds: of a run, counted from 0.
        reference: file of the accepted results, beside the suite's own.
        reference_seeds: that it holds; cells that look off are run with all of them.
    """

    title: str
    experiment: str
    overrides: list[str] = field(default_factory=list)
    seeds: int
    reference: str
    reference_seeds: int
    bands: Bands = field(default_factory=Bands)
    schedule: Schedule

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds: expected a number >= 1, got {self.seeds}.")
        if self.reference_seeds < self.seeds:
            raise ValueError(
                f"reference_seeds: expected at least the {self.seeds} seeds of a run,"
                f" got {self.reference_seeds}."
            )
        if not re.fullmatch(r"[\w-]+(/[\w-]+)*\.json", self.reference):
            raise ValueError(
                "reference: expected the path of a .json file below conf/suite/,"
                f" got {self.reference!r}."
            )
        if any(text.partition("=")[0] == "seed" for text in self.overrides):
            raise ValueError("overrides: expected no seed; seeds: says how many.")


@dataclass(frozen=True, kw_only=True)
class Suite(Settings):
    """A suite with its name and the folder of its file."""

    name: str
    folder: Path

    @property
    def reference_file(self) -> Path:
        """Where the reference lies."""
        return self.folder / self.reference

    def grid(self, first: int, after: int) -> list[str]:
        """What ``fl-platform grid`` would be told for the seeds from ``first`` to ``after - 1``."""
        return [self.experiment, *self.overrides, f"seed=range({first},{after})"]


def load_suite(name: str, home: Path) -> Suite:
    """The suite in ``conf/suite/<name>.yaml``.

    Raises:
        ConfigError: no such file, no yaml, or a setting that is unknown or out of range.
    """
    folders = [each / "suite" for each in conf_folders(home)]
    found = [path for folder in folders[::-1] for path in folder.glob("*.yaml")]
    files = {path.stem: path for path in sorted(found, key=lambda path: path.stem)}
    if name not in files:
        close, has = nearest(name, files), ", ".join(files) or "none"
        told = f"repro: there is no suite '{name}'{close} There are: {has}."
        raise ConfigError(told + looked_in(folders))
    try:
        tree = read_yaml(files[name])
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    settings = build_dataclass(Settings, tree if isinstance(tree, Mapping) else {}, name)
    parse_overrides(settings.overrides)
    return Suite(**vars(settings), name=name, folder=files[name].parent)
