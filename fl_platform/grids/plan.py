"""Which cells a grid has: every combination once, checked, named by its hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fl_platform.config import Config, ConfigError, compose, conf_folder, config_hash
from fl_platform.config.files import GROUPS
from fl_platform.config.targets import admit
from fl_platform.naming import run_name

# Key -> the part of a configuration that it belongs to. ``rounds`` follows the task's own number.
PARTS = {
    **{name: name for name in ("task", "attack", "defense", "mixing", "byzantine", "server")},
    **{name: name for name in ("evaluation", "observers", "runtime", "seed", "worker", "data")},
    "rounds": "task",
    **dict.fromkeys(("model", "partition", "local"), "task"),
}
FIELDS = {"task": ("task", "rounds")}  # what a part may touch, where that is not just itself
OTHERS = ("preset", "experiment")  # reach into several parts

Parts = dict[str, tuple[str, ...]]


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

    Seeds need no pairing: every stream of a run depends on its seed and a name alone, so cells
    of equal seed and task share partition, participants and initial weights.

    Args:
        experiment: the name under which the cells are filed; no part of their identity.

    Raises:
        ConfigError: a combination that cannot be run, named.
    """
    composer = Composer(home, plugins)
    found: dict[str, Cell] = {}
    for overrides in combinations:
        config = composer(tuple(overrides))
        if experiment:
            config = replace(config, experiment=experiment)
        name = config_hash(config)
        if name not in found:
            found[name] = Cell(tuple(overrides), config, name, run_name(config))
    return list(found.values())


class Composer:
    """``compose`` for many combinations: each part of a configuration is composed once.

    A composition takes 0.1 s, and of 1,000 combinations most repeat the same attack, defense and
    task. Where no part refers to another, the parts of a configuration can be composed one at a
    time beside the parts of the first combination, and put together. Whether they can is checked,
    not assumed: a part that touches what is not its own, a reference in a group's file, or a key
    of unknown reach leads back to a full composition of each combination.
    """

    def __init__(self, home: Path, plugins: Sequence[str] = ()) -> None:
        self.home, self.plugins = home, tuple(plugins)
        self.composed = 0  # full compositions made
        self._separable = not _has_references(home, plugins)
        self._bases: dict[tuple[str, ...], tuple[Parts, Config] | None] = {}
        self._parts: dict[tuple[Any, ...], Mapping[str, Any] | None] = {}

    def __call__(self, overrides: tuple[str, ...]) -> Config:
        """The configuration of one combination."""
        divided = divide(overrides) if self._separable else None
        if divided is None:
            return self._compose(overrides)
        context, parts = divided
        if context not in self._bases:
            config = self._compose(overrides)
            self._bases[context] = (parts, config)
            return config
        base = self._bases[context]
        if base is None:
            return self._compose(overrides)
        changes: dict[str, Any] = {}
        for part in parts.keys() | base[0].keys():
            own = parts.get(part, ())
            if own == base[0].get(part, ()):
                continue
            fresh = self._part(context, base, part, own)
            if fresh is None:
                return self._compose(overrides)
            changes |= fresh
        try:
            return replace(base[1], **changes)
        except ValueError:
            return self._compose(overrides)  # refuses it in its own words

    def _part(
        self,
        context: tuple[str, ...],
        base: tuple[Parts, Config],
        part: str,
        own: tuple[str, ...],
    ) -> Mapping[str, Any] | None:
        """The fields of ``part`` under its own overrides; None where it does not stand alone."""
        if part == "seed" and len(own) == 1 and own[0][5:].isdecimal() and own[0][5] != "0":
            return {"seed": int(own[0][5:])}  # the root's own check of its bounds follows
        key = (context, part, own)
        if key not in self._parts:
            beside = {**base[0], part: own}
            try:
                config = self._compose([*context, *(o for kept in beside.values() for o in kept)])
            except ConfigError:
                self._parts[key] = None  # perhaps refused only beside these other parts
                return None
            names = FIELDS.get(part, (part,))
            rest = [field.name for field in fields(Config) if field.name not in names]
            alone = all(getattr(config, name) == getattr(base[1], name) for name in rest)
            self._parts[key] = {name: getattr(config, name) for name in names} if alone else None
        return self._parts[key]

    def _compose(self, overrides: Sequence[str]) -> Config:
        self.composed += 1
        try:
            return compose(list(overrides), self.home, plugins=self.plugins)
        except ConfigError as error:
            raise ConfigError(f"{error} In the cell: {' '.join(overrides)}") from None


def divide(overrides: Sequence[str]) -> tuple[tuple[str, ...], Parts] | None:
    """The overrides of no part, and those of each part; None where a key tells no part."""
    context: list[str] = []
    parts: dict[str, tuple[str, ...]] = {}
    for override in overrides:
        key = override.partition("=")[0].partition(".")[0]
        if "${" in override:
            return None
        if key in OTHERS:
            context.append(override)
        elif key in PARTS:
            parts[PARTS[key]] = (*parts.get(PARTS[key], ()), override)
        else:
            return None  # +key, ~key, group@package: Hydra knows what they reach
    return tuple(context), parts


def _has_references(home: Path, plugins: Sequence[str]) -> bool:
    """Whether a file of a group refers to a value elsewhere: its part then may not stand alone."""
    folders = [conf_folder(home), *(admit(plugin, home) / "conf" for plugin in plugins)]
    files = [
        file
        for folder in folders
        for group in GROUPS
        if group not in OTHERS
        for file in (folder / group).rglob("*.yaml")
    ]
    return any("${" in file.read_text(encoding="utf-8", errors="replace") for file in files)
