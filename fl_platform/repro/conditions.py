"""What is stored of a suite's runs, and whether today's code on this machine made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fl_platform.config import Config, config_hash
from fl_platform.grid.plan import Cell
from fl_platform.repro.reference import DIGITS, Outcome
from fl_platform.run import provenance
from fl_platform.run.result import Result, finished
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

PER_SEED = "partition_digest"  # a condition that follows from the seed; weights cover it


@dataclass(frozen=True)
class Stored:
    """A run that is over: its result, what decided its bits, and the tree that it came from."""

    result: Result
    conditions: dict[str, Any]
    commit: str
    dirty: bool

    def outcome(self, cell: str, seed: int) -> Outcome:
        """The run as a reference keeps it."""
        result = self.result
        accuracy = result.accuracy_tail if result.status == "FINISHED" else None
        digests = (result.config_hash[:DIGITS], result.weights_sha256[:DIGITS])
        return Outcome(cell, seed, *digests, accuracy)


def stored(home: Path, cell: Cell) -> Stored | None:
    """The stored run of ``cell``; None where there is none that is over."""
    result = finished(home, cell.config_hash)
    if result is None:
        return None
    folder = run_folder(home, cell.config_hash)
    tags = read(folder.journal).tags
    conditions = _conditions((folder.describe() or {})["conditions"], tags.get("processor", ""))
    return Stored(result, conditions, tags.get("commit", ""), tags.get("dirty") != "false")


def conditions_now(config: Config, home: Path) -> dict[str, Any]:
    """What decides the bits of a run of ``config`` here and now, beside the configuration.

    Raises:
        ConfigError, DataError: the machine or the data do not serve.
    """
    from fl_platform.run import conditions
    from fl_platform.run.build import choose_local, load_population, resolve_device

    device = resolve_device(config.runtime)
    population = load_population(config, home)
    way = choose_local(config, device, population.dataset).way
    return _conditions(conditions(config, device, population, way), provenance.processor())


def renewed(cells: Sequence[Cell], home: Path) -> list[Cell]:
    """``cells``, told to begin anew where what is stored was made under other conditions.

    What an interrupted run left is continued where it was begun under today's.
    """
    now: dict[str, dict[str, Any]] = {}
    made = []
    for cell in cells:
        folder = run_folder(home, cell.config_hash)
        described = folder.describe()
        if described is not None:
            key = repr((cell.config.task, cell.config.runtime))
            if key not in now:
                now[key] = conditions_now(cell.config, home)
            processor = read(folder.journal).tags.get("processor", "")
            if _conditions(described["conditions"], processor) != now[key]:
                runtime = replace(cell.config.runtime, fresh=True)
                cell = replace(cell, config=replace(cell.config, runtime=runtime))
        made.append(cell)
    return made


def named(cells: Sequence[Cell]) -> list[tuple[str, Cell]]:
    """Each run with its cell's name: its own without the seed.

    Settings that no name tells apart get digits of their hash.
    """
    bare = [cell.name.rpartition(" s")[0] for cell in cells]
    settings = [config_hash(replace(cell.config, seed=0))[:6] for cell in cells]
    several = Counter(name for name, _ in set(zip(bare, settings, strict=True)))
    return [
        (name if several[name] == 1 else f"{name} #{setting}", cell)
        for name, setting, cell in zip(bare, settings, cells, strict=True)
    ]


def _conditions(told: dict[str, Any], processor: str) -> dict[str, Any]:
    kept = {key: value for key, value in told.items() if key != PER_SEED}
    return {**kept, "processor": processor}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys that two mappings do not share, with both values."""
    keys = sorted(first.keys() | second.keys())
    return {k: (first.get(k), second.get(k)) for k in keys if first.get(k) != second.get(k)}
