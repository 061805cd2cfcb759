"""The ``grid:`` node of an experiment file: axes, blocks of axes, unknown facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_platform.config import ConfigError, conf_folders, looked_in
from fl_platform.config.errors import nearest, shown
from fl_platform.config.targets import admit
from fl_platform.core.outside import OutsideError, read_yaml

Axes = Mapping[str, str]
KEYS = ("title", "axes", "cells", "unknown")


@dataclass(frozen=True)
class Grid:
    """The ``grid:`` node of ``conf/experiment/NAME.yaml``.

    Attributes:
        name: file name without suffix; also the MLflow experiment of the runs.
        title: title of the report.
        axes: key -> values in Hydra's sweep grammar; hold in every block.
        blocks: further axes per block; they replace axes of the same key (``cells:`` in the file).
        unknown: choices of this file that the paper does not state, one sentence each.
    """

    name: str
    title: str = ""
    axes: Axes = field(default_factory=dict)
    blocks: tuple[Axes, ...] = ({},)
    unknown: tuple[str, ...] = ()

    def sweeps(self, typed: Sequence[str]) -> list[list[str]]:
        """One list of sweep overrides per block; ``typed`` replaces axes of the same key."""
        replacing = {override.partition("=")[0]: override for override in typed}
        lines = []
        for block in self.blocks:
            axes = {key: f"{key}={values}" for key, values in {**self.axes, **block}.items()}
            lines.append(list({**axes, **replacing}.values()))
        return lines


def read_grid(name: str, home: Path, plugins: Sequence[str] = ()) -> Grid:
    """Read the grid of experiment ``name``.

    Raises:
        ConfigError: the file is missing, or its ``grid:`` node is invalid.
    """
    folders = [*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)]
    files = {name: path for folder in folders[::-1] for name, path in _files(folder).items()}
    if name not in files:
        listed = f" There are: {', '.join(sorted(files))}." if files else ""
        told = f"grid: there is no experiment '{name}'{nearest(name, files)}{listed}"
        raise ConfigError(told + looked_in(folders))
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
    return Grid(
        name=name,
        title=str(node.get("title", name)),
        axes=_axes(node.get("axes", {}), "grid.axes", files[name]),
        blocks=tuple(_axes(b, f"grid.cells.{i}", files[name]) for i, b in enumerate(blocks)),
        unknown=tuple(map(str, _list(node.get("unknown", []), "grid.unknown", files[name]))),
    )


def _files(folder: Path) -> dict[str, Path]:
    """The files by name, which has the folder in it: ``papers/bucketing_exp2``."""
    group = folder / "experiment"
    files = sorted(group.glob("**/*.yaml"))
    return {path.relative_to(group).with_suffix("").as_posix(): path for path in files}


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
