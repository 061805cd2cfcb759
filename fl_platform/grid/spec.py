"""The ``grid:`` node of an experiment file: axes, blocks of axes, unknown facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_platform.config import ConfigError, conf_folders, looked_in, plugin_with
from fl_platform.config.errors import nearest, shown
from fl_platform.config.targets import admit
from fl_platform.core.outside import OutsideError, read_yaml

Axes = Mapping[str, str]
RULES = ("attack", "defense", "mixing")
KEYS = ("title", "axes", "cells", "unknown", "paper")
OF_PAPER = ("source", "address", "values", "origin")


@dataclass(frozen=True)
class Paper:
    """The ``paper:`` node of an experiment that restates a published one.

    Attributes:
        source: authors, title, year, and which table or figure.
        address: where to read it.
        values: CSV of the published values (`fl_platform.report.published.read_published`).
        origin: where the values were read, and their licence; or that there are none.
    """

    source: str
    address: str = ""
    values: Path | None = None
    origin: str = ""


@dataclass(frozen=True)
class Grid:
    """The ``grid:`` node of ``conf/experiment/NAME.yaml``.

    Attributes:
        name: file name without suffix; also the MLflow experiment of the runs.
        title: title of the report.
        axes: key -> values in Hydra's sweep grammar; hold in every block.
        blocks: further axes per block; they replace axes of the same key (``cells:`` in the file).
        unknown: choices of this file that the paper does not state, one sentence each.
        paper: what is restated, if anything.
    """

    name: str
    title: str = ""
    axes: Axes = field(default_factory=dict)
    blocks: tuple[Axes, ...] = ({},)
    unknown: tuple[str, ...] = ()
    paper: Paper | None = None

    def sweeps(
        self, typed: Sequence[str], values: Callable[[str], Sequence[str]] | None = None
    ) -> list[list[str]]:
        """One list of sweep overrides per block; ``typed`` replaces axes of the same key.

        Where a block has settings of a rule, such as ``attack.side`` beside ``attack``, a typed
        list of rules is shared out: that block keeps the rules that it names, and rules that no
        block names go to the blocks without such settings. A typed setting that some block has
        replaces it there alone.

        Args:
            typed: overrides, at most one per key.
            values: sweep override -> one override per value. Default: split at commas.
        """
        replacing = {override.partition("=")[0]: override for override in typed}
        blocks = [
            {key: f"{key}={values}" for key, values in {**self.axes, **block}.items()}
            for block in self.blocks
        ]
        shared = [key for key in replacing if any(_has_settings(b, key) for b in blocks)]
        for key in shared:
            blocks = _shared_out(blocks, key, replacing.pop(key), values or _at_commas)
        partial = {k for b in blocks for k in b if _has_settings(b, k.rpartition(".")[0])}
        for key, override in replacing.items():
            there = [b for b in blocks if key in b] if key in partial else blocks
            for block in there:
                block[key] = override
        return [list(block.values()) for block in blocks]


def read_grid(name: str, home: Path, plugins: Sequence[str] = ()) -> Grid:
    """Read the grid of experiment ``name``.

    Raises:
        ConfigError: the file is missing, or its ``grid:`` node is invalid.
    """
    folders = [*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)]
    files = grid_files(folders)
    if name not in files:
        listed = f" There are: {', '.join(sorted(files))}." if files else ""
        from_plugin = plugin_with(home, "experiment", name)
        close = "." if from_plugin else nearest(name, files)
        told = f"grid: there is no experiment '{name}'{close}{from_plugin}{listed}"
        raise ConfigError(told + looked_in(folders, home))
    try:
        tree = read_yaml(files[name])
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    node = tree.get("grid") if isinstance(tree, Mapping) else None
    if not isinstance(node, Mapping):
        raise ConfigError(f"{files[name]}: expected 'grid:' with axes or cells, got {shown(node)}.")
    for key in node:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise ConfigError(
                f"{files[name]}: expected one of {known} below grid, got {key!r}"
                f"{nearest(key, KEYS)}"
            )
    blocks = _list(node.get("cells", [{}]), "grid.cells", files[name])
    if not blocks:
        raise ConfigError(f"{files[name]}: grid.cells: expected at least one block, got [].")
    return Grid(
        name=name,
        title=str(node.get("title", name)),
        axes=_axes(node.get("axes", {}), "grid.axes", files[name]),
        blocks=tuple(_axes(b, f"grid.cells.{i}", files[name]) for i, b in enumerate(blocks)),
        unknown=tuple(map(str, _list(node.get("unknown", []), "grid.unknown", files[name]))),
        paper=_paper(node["paper"], files[name]) if "paper" in node else None,
    )


def grid_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Experiment files by name, which has a folder in it if any: ``papers/bucketing_exp2``.

    Args:
        folders: of configuration files; what two of them have is the first one's.
    """
    found = {}
    for group in (folder / "experiment" for folder in folders[::-1]):
        for path in sorted(group.glob("**/*.yaml")):
            found[path.relative_to(group).with_suffix("").as_posix()] = path
    return found


def _paper(node: Any, file: Path) -> Paper:
    if not isinstance(node, Mapping) or not isinstance(node.get("source"), str):
        raise ConfigError(f"{file}: grid.paper: expected source and others, got {shown(node)}.")
    for key, value in node.items():
        if key not in OF_PAPER or not isinstance(value, str):
            known = ", ".join(OF_PAPER)
            told = f"expected texts below {known}, got {key}: {shown(value)}"
            raise ConfigError(f"{file}: grid.paper: {told}.")
    values = file.parent / node["values"] if "values" in node else None
    if values is not None and not values.is_file():
        raise ConfigError(f"{file}: grid.paper.values: expected a file at {values}, got none.")
    return Paper(node["source"], node.get("address", ""), values, node.get("origin", ""))


def _has_settings(block: Mapping[str, str], key: str) -> bool:
    return key in RULES and any(name.startswith(f"{key}.") for name in block)


def _at_commas(override: str) -> list[str]:
    key, _, listed = override.partition("=")
    return [f"{key}={value.strip()}" for value in listed.split(",")]


def _shared_out(
    blocks: Sequence[dict[str, str]],
    key: str,
    override: str,
    values: Callable[[str], Sequence[str]],
) -> list[dict[str, str]]:
    """The blocks with their part of a typed list of rules; blocks without a part are left out."""
    wanted = values(override)
    named = [set(values(block[key])) if key in block else set() for block in blocks]
    unnamed = [value for value in wanted if not any(value in each for each in named)]
    made = []
    for block, own in zip(blocks, named, strict=True):
        rest = [] if _has_settings(block, key) else unnamed
        part = [value.partition("=")[2] for value in wanted if value in own or value in rest]
        if part:
            made.append(block | {key: f"{key}={','.join(part)}"})
    if unnamed and all(_has_settings(block, key) for block in blocks):
        bare = {k: v for k, v in blocks[0].items() if not k.startswith(f"{key}.")}
        rest = [value.partition("=")[2] for value in unnamed]
        made.append(bare | {key: f"{key}={','.join(rest)}"})
    return made


def _axes(node: Any, key: str, file: Path) -> dict[str, str]:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{file}: {key}: expected values by key, got {shown(node)}.")
    for name, values in node.items():
        if not isinstance(values, str | int | float) or isinstance(values, bool):
            expected = "values in Hydra's sweep grammar such as 'none, strike'"
            raise ConfigError(f"{file}: {key}.{name}: expected {expected}, got {shown(values)}.")
    return {str(name): " ".join(str(values).split()) for name, values in node.items()}


def _list(node: Any, key: str, file: Path) -> list[Any]:
    if not isinstance(node, list):
        raise ConfigError(f"{file}: {key}: expected a list, got {shown(node)}.")
    return node
