"""Which cells a grid has: every combination once, checked, named by its hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl_platform.config import Config, ConfigError, compose, conf_folders, config_hash
from fl_platform.config.targets import admit
from fl_platform.run.naming import run_name, run_names

_PLAIN_SEED = re.compile(r"seed=(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    overrides: tuple[str, ...]
    config: Config
    config_hash: str
    name: str


def plan(
    combinations: Iterable[Sequence[str]],
    home: Path,
    *,
    plugins: Sequence[str] = (),
    experiment: str = "",
) -> list[Cell]:
    """The cells of ``combinations`` of overrides, in order, each configuration once.

    Combinations that differ in the seed alone are composed once. Every random stream of a run
    depends on its seed and a name alone, so cells of equal seed and task share partition,
    participants and initial weights.

    Args:
        experiment: the name under which the cells are filed; no part of their identity.

    Raises:
        ConfigError: a combination that cannot be run, named.
    """
    whole = _seed_referred_to(home, plugins)
    composed: dict[tuple[str, ...], Config] = {}
    found: dict[str, tuple[tuple[str, ...], Config]] = {}
    for combination in combinations:
        overrides = tuple(combination)
        seeds = [override[5:] for override in overrides if _PLAIN_SEED.fullmatch(override)]
        rest = tuple(override for override in overrides if not _PLAIN_SEED.fullmatch(override))
        if len(seeds) != 1 or whole:
            config = _compose(overrides, home, plugins)
        else:
            if rest not in composed:
                composed[rest] = _compose(overrides, home, plugins)
            try:
                config = replace(composed[rest], seed=int(seeds[0]))
            except ValueError:  # a seed out of range: refused in the words of a composition
                config = _compose(overrides, home, plugins)
        if experiment:
            config = replace(config, experiment=experiment)
        name = config_hash(config)
        if name not in found:
            found[name] = (overrides, config)
    names = run_names([config for _, config in found.values()])
    return [
        Cell(overrides, _named(config, name), identity, name)
        for (identity, (overrides, config)), name in zip(found.items(), names, strict=True)
    ]


def _named(config: Config, name: str) -> Config:
    """``config`` that carries ``name``, where that is not its own name anyway."""
    if run_name(config) == name:
        return config
    return replace(config, runtime=replace(config.runtime, name=name))


def _compose(overrides: Sequence[str], home: Path, plugins: Sequence[str]) -> Config:
    try:
        return compose(list(overrides), home, plugins=plugins)
    except ConfigError as error:
        raise ConfigError(f"{error} In the run: {' '.join(overrides)}") from None


def _seed_referred_to(home: Path, plugins: Sequence[str]) -> bool:
    """Whether a configuration file refers to the seed: then no composition serves two seeds."""
    folders = [*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)]
    files = [file for folder in folders for file in folder.rglob("*.yaml")]
    return any("${seed" in file.read_text(encoding="utf-8", errors="replace") for file in files)
