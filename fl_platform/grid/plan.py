"""Plan the runs of a grid: compose each combination, check it, remove duplicates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl_platform.config import (
    Config,
    ConfigError,
    compose,
    conf_folders,
    config_hash,
    expand,
    setting_hash,
)
from fl_platform.config.sweep import MOST
from fl_platform.config.targets import admit
from fl_platform.core.outside import OutsideError, read_file
from fl_platform.grid.spec import Grid, read_grid
from fl_platform.run.early import refuse_missing, refuse_settings
from fl_platform.run.naming import run_name, run_names
from fl_platform.tracking.run_folder import run_folder

_PLAIN_SEED = re.compile(r"seed=(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a grid."""

    overrides: tuple[str, ...]
    config: Config
    config_hash: str
    name: str


def plan_grid(
    arguments: Sequence[str], home: Path, plugins: Sequence[str] = ()
) -> tuple[Grid, list[PlannedRun]]:
    """Read and plan a grid.

    Args:
        arguments: the name of an experiment and overrides, or overrides only.
        home: workspace: the folder of ``conf/`` and ``mlruns/``.
        plugins: packages with further attacks, defenses and config files.
    """
    named = bool(arguments) and "=" not in arguments[0]
    typed = list(arguments[1:] if named else arguments)
    grid = read_grid(arguments[0], home, plugins) if named else Grid("grid", "Grid")
    chosen = [f"experiment={grid.name}"] if named else []

    def values(override: str) -> list[str]:
        return [value for (value,) in expand([override], home, plugins=plugins)]

    combinations = (
        [*chosen, *overrides]
        for sweep in grid.sweeps(typed, values)
        for overrides in expand(sweep, home, plugins=plugins)
    )
    return grid, plan(combinations, home, plugins=plugins, experiment=grid.name)


def refuse_runs(planned: Sequence[PlannedRun], home: Path, *, here: bool = True) -> None:
    """Refuse runs without a stored result that cannot start, before slow imports.

    Args:
        planned: runs of the grid.
        home: workspace.
        here: whether this machine executes the runs.

    Raises:
        ConfigError: with the place where a file was expected, the number of GPUs, or the run whose
            rules cannot work.
        DataError: with the folders that were searched.
    """
    unfinished = [
        run for run in planned if not run_folder(home, run.config_hash).result_file.exists()
    ]
    places = {(str(run.config.task.data), run.config.runtime.device): run for run in unfinished}
    for run in places.values():
        refuse_missing(run.config, home, here=here)
    for run in {setting_hash(run.config): run for run in unfinished}.values():
        try:
            refuse_settings(run.config)
        except ConfigError as error:
            raise ConfigError(f"{error} In the run: {' '.join(run.overrides)}") from None


def plan(
    combinations: Iterable[Sequence[str]],
    home: Path,
    *,
    plugins: Sequence[str] = (),
    experiment: str = "",
) -> list[PlannedRun]:
    """Plan one run per configuration of ``combinations``, in order, without duplicates.

    Combinations that differ in the seed alone are composed once. A random stream depends on the
    run's seed and the stream's name only, so runs of equal seed and task share the partition, the
    participants and the initial weights.

    Args:
        experiment: MLflow experiment of the runs; not part of the configuration hash.

    Raises:
        ConfigError: a combination is invalid; the message names it.
    """
    per_seed = _seed_referred_to(home, plugins)
    composed: dict[tuple[str, ...], Config] = {}
    found: dict[str, tuple[tuple[str, ...], Config]] = {}
    for combination in combinations:
        overrides = tuple(combination)
        seeds = [override[5:] for override in overrides if _PLAIN_SEED.fullmatch(override)]
        rest = tuple(override for override in overrides if not _PLAIN_SEED.fullmatch(override))
        if len(seeds) != 1 or per_seed:
            config = _compose(overrides, home, plugins)
        else:
            if rest not in composed:
                composed[rest] = _compose(overrides, home, plugins)
            try:
                config = replace(composed[rest], seed=int(seeds[0]))
            except ValueError:  # a seed out of range: composing raises the full message
                config = _compose(overrides, home, plugins)
        if experiment:
            config = replace(config, experiment=experiment)
        name = config_hash(config)
        if name not in found:
            found[name] = (overrides, config)
        if len(found) > MOST:
            raise ConfigError(f"Expected at most {MOST} runs in one grid, got more. Split it.")
    names = run_names([config for _, config in found.values()])
    return [
        PlannedRun(overrides, _named(config, name), identity, name)
        for (identity, (overrides, config)), name in zip(found.items(), names, strict=True)
    ]


def _named(config: Config, name: str) -> Config:
    """``config`` with ``name``, if this is not the name that it has anyway."""
    if run_name(config) == name:
        return config
    return replace(config, runtime=replace(config.runtime, name=name))


def _compose(overrides: Sequence[str], home: Path, plugins: Sequence[str]) -> Config:
    try:
        return compose(list(overrides), home, plugins=plugins)
    except ConfigError as error:
        raise ConfigError(f"{error} In the run: {' '.join(overrides)}") from None


def _seed_referred_to(home: Path, plugins: Sequence[str]) -> bool:
    """Whether a configuration file refers to the seed; then each seed is composed separately."""
    folders = [*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)]
    files = [file for folder in folders for file in folder.rglob("*.yaml")]
    return any(map(_refers_to_seed, files))


def _refers_to_seed(file: Path) -> bool:
    try:
        return b"${seed" in read_file(file, "yaml", follow=True)
    except (OutsideError, OSError):  # refused by its name where it is composed
        return False
