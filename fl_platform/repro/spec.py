"""Suite file: experiment, seeds, schedule and tolerance."""

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
class Tolerance:
    """Tolerance of a comparison whose bits need not be equal.

    Attributes:
        level: Probability of any false alarm over all cells of a suite, for unchanged results.
        margin: Mean differences of at most this many percentage points are never drift.
    """

    level: float = 0.01
    margin: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.level <= 0.1:
            raise ValueError(f"level: expected above 0 and at most 0.1, got {self.level}.")
        if not 0 <= self.margin <= 50:
            raise ValueError(f"margin: expected points from 0 to 50, got {self.margin}.")


@dataclass(frozen=True, kw_only=True)
class SuiteSchedule:
    """SuiteSchedule of a suite in UTC, so that summer time neither doubles nor skips a start."""

    every: Literal["day", "week"]
    at: str
    day: Weekday = "sunday"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.at):
            raise ValueError(f"at: expected a time of day in UTC such as '02:30', got {self.at!r}.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a file in ``conf/suite/``; see docs/reproduction.md.

    Attributes:
        experiment: Name of a file in ``conf/experiment/``.
        overrides: Overrides of the experiment and its axes.
        seeds: Number of seeds per cell of a repetition: 0 to ``seeds - 1``.
        reference: Path of the reference, relative to ``conf/suite/``.
        reference_seeds: Number of seeds per cell of the reference; flagged cells run all of them.
        bands: Tolerance of the comparison.
        schedule: When the suite runs.
    """

    title: str
    experiment: str
    overrides: list[str] = field(default_factory=list)
    seeds: int
    reference: str
    reference_seeds: int
    bands: Tolerance = field(default_factory=Tolerance)
    schedule: SuiteSchedule

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
            raise ValueError("overrides: expected no seed. The key seeds sets their number.")


@dataclass(frozen=True, kw_only=True)
class Suite(Settings):
    """Suite with its name and the folder of its file."""

    name: str
    folder: Path

    @property
    def reference_file(self) -> Path:
        """Path of the reference."""
        return self.folder / self.reference

    def params(self) -> dict[str, str | int | float]:
        """What a repetition's parent run shows in MLflow."""
        return {
            "suite.experiment": self.experiment,
            "suite.overrides": " ".join(self.overrides),
            "suite.seeds": self.seeds,
            "suite.reference_seeds": self.reference_seeds,
            "suite.level": self.bands.level,
            "suite.margin": self.bands.margin,
        }

    def grid(self, first: int, after: int) -> list[str]:
        """Arguments of ``fl-platform grid`` for the seeds ``first`` to ``after - 1``."""
        return [self.experiment, *self.overrides, f"seed=range({first},{after})"]


def load_suite(name: str, home: Path) -> Suite:
    """Suite of ``conf/suite/<name>.yaml``.

    Raises:
        ConfigError: The file is missing or no yaml, or a setting is unknown or out of range.
    """
    folders = [each / "suite" for each in conf_folders(home)]
    found = [path for folder in folders[::-1] for path in folder.glob("*.yaml")]
    files = {path.stem: path for path in sorted(found, key=lambda path: path.stem)}
    if name not in files:
        close, has = nearest(name, files), ", ".join(files) or "none"
        told = f"repro: there is no suite '{name}'{close} There are: {has}."
        raise ConfigError(told + looked_in(folders, home))
    try:
        tree = read_yaml(files[name])
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    settings = build_dataclass(Settings, tree if isinstance(tree, Mapping) else {}, name)
    parse_overrides(settings.overrides)
    return Suite(**vars(settings), name=name, folder=files[name].parent)
