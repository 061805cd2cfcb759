"""Restated papers: a list, what one of them needs and leaves open, and its published values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from fl_platform.config import ConfigError, compose, conf_folders, config_hash, expand
from fl_platform.config.errors import nearest
from fl_platform.config.targets import admit
from fl_platform.core.outside import OutsideError
from fl_platform.core.terminal import Terminal
from fl_platform.core.text import printable
from fl_platform.grid.spec import Grid, Paper, grid_files, read_grid
from fl_platform.report.published import PublishedCell, Restated, read_published

NONE_AT_HAND = "no numbers at hand"


def papers(home: Path, plugins: Sequence[str] = ()) -> list[Grid]:
    """The experiments that restate a published one, by name."""
    grids = (read_grid(name, home, plugins) for name in sorted(_files(home, plugins)))
    return [grid for grid in grids if grid.paper is not None]


def _files(home: Path, plugins: Sequence[str]) -> dict[str, Path]:
    return grid_files([*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)])


def show_papers(home: Path, out: Terminal, plugins: Sequence[str] = ()) -> None:
    """Print each restated paper: runs, published values, number of open points, command."""
    table = Table(box=None, pad_edge=False)
    for name in ("experiment", "source", "runs", "published", "open"):
        table.add_column(name, justify="right" if name in ("runs", "open") else "left")
    for grid in papers(home, plugins):
        assert grid.paper is not None
        runs = str(len(_runs(grid, home, plugins)))
        cells = (grid.name, grid.paper.source, runs, _values(grid.paper), str(len(grid.unknown)))
        table.add_row(*(printable(cell) for cell in cells))
    out.print(table)
    out.print("details: fl-platform papers EXPERIMENT; run: fl-platform grid EXPERIMENT")


def show_paper(name: str, home: Path, out: Terminal, plugins: Sequence[str] = ()) -> None:
    """Print one restated paper: source, runs, axes, what is open, and its commands.

    Raises:
        ConfigError: there is no such experiment, or it restates no paper.
    """
    grid = read_grid(name, home, plugins) if name in _files(home, plugins) else None
    if grid is None or grid.paper is None:
        known = [each.name for each in papers(home, plugins)]
        missing = f"there is no experiment '{name}'{nearest(name, known)} These restate a paper:"
        why = missing if grid is None else f"{name} restates no paper; these do:"
        raise ConfigError(f"papers: {why} {', '.join(known)}.")
    runs = _runs(grid, home, plugins)
    first = [f"experiment={name}", *runs[0]]
    data = compose(first, home, plugins=plugins).task.data
    root = " task.data.root=PATH" if "root" in data else ""  # not for data inside a package
    lines = [
        grid.title,
        f"source: {grid.paper.source}",
        f"address: {grid.paper.address or 'none'}",
        "published: " + "; ".join(filter(None, [_values(grid.paper), grid.paper.origin])),
        f"runs: {len(runs)}",
        *(f"axis: {key}: {values}" for block in _axes(grid) for key, values in block.items()),
        *(f"open: {sentence}" for sentence in grid.unknown),
        f"run: fl-platform grid {grid.name}{root}",
        f"compare: fl-platform report {grid.name}",
    ]
    for line in lines:
        out.print(printable(line), soft_wrap=True)


def restated(
    home: Path, name: str, seeds: Iterable[int], variant: Sequence[str] = ()
) -> Restated | None:
    """The published values of experiment ``name`` by the hashes of the runs that restate them.

    Args:
        home: workspace.
        name: of an experiment.
        seeds: of our runs; a published cell belongs to a run of each.
        variant: overrides of runs that differ from the experiment.

    Returns:
        None where the experiment restates no paper, or has no file any more.

    Raises:
        ConfigError: the CSV cannot be read, or names a setting that there is not.
    """
    if name not in grid_files(conf_folders(home)):
        return None
    grid = read_grid(name, home)
    if grid.paper is None:
        return None
    found: dict[str, PublishedCell] = {}
    for cell in _cells(grid.paper):
        config = compose([f"experiment={name}", *cell.overrides, *variant], home)
        each = replace(cell, tail=config.evaluation.tail)
        found |= {config_hash(replace(config, seed=seed)): each for seed in seeds}
    return Restated(grid.paper.source, grid.paper.origin, grid.unknown, found)


def _runs(grid: Grid, home: Path, plugins: Sequence[str]) -> list[tuple[str, ...]]:
    """Combinations of the axes, which are not composed: that takes a while."""
    sweeps = (expand(sweep, home, plugins=plugins) for sweep in grid.sweeps(()))
    return list(dict.fromkeys(tuple(overrides) for found in sweeps for overrides in found))


def _cells(paper: Paper) -> tuple[PublishedCell, ...]:
    try:
        return read_published(paper.values) if paper.values else ()
    except OutsideError as error:
        raise ConfigError(str(error)) from None


def _values(paper: Paper) -> str:
    if paper.values is None:
        return "in every report" if paper.origin else NONE_AT_HAND
    cells = _cells(paper)
    curves = sum(len(cell.curves) for cell in cells)
    counts = [(len(cells), "cell"), (curves, "curve")]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)


def _axes(grid: Grid) -> list[dict[str, str]]:
    shared = dict(grid.axes)
    return [shared, *(dict(block) for block in grid.blocks if block)]
