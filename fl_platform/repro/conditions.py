"""What is stored of a suite's runs, and whether today's code on this machine made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fl_platform.config import Config, config_hash
from fl_platform.grid.plan import PlannedRun
from fl_platform.repro.reference import DIGITS, Outcome, Reference
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


def stored(home: Path, cell: PlannedRun) -> Stored | None:
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
    from fl_platform.run.build import choose_local, load_population, resolve_device
    from fl_platform.run.runner import conditions

    device = resolve_device(config.runtime)
    population = load_population(config, home)
    way = choose_local(config, device, population.dataset).way
    return _conditions(conditions(config, device, population, way), provenance.processor())


def renewed(cells: Sequence[PlannedRun], home: Path) -> list[PlannedRun]:
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


def named(cells: Sequence[PlannedRun]) -> list[tuple[str, PlannedRun]]:
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


TOLD = 5  # names in a message


class CouldNotRun(RuntimeError):  # noqa: N818 - told to the user by its name
    """There is nothing to compare, for a reason that a person can mend."""


def refuse_unnamed_code(reference: Reference | None) -> None:
    """Refuse code that no commit names; that of an installed release must be the reference's."""
    commit, dirty = provenance.git_state()
    if dirty:
        raise CouldNotRun("the tree has changes that no commit holds: commit or stash them.")
    known = None if reference is None else reference.origin.conditions.get("code_fingerprint")
    if not commit and known != provenance.code_fingerprint():
        raise CouldNotRun(
            "expected a git checkout, so that a commit names the code, or an installed release"
            " whose code is the reference's; got neither."
        )


def refuse_other_runs(reference: Reference, cells: Sequence[PlannedRun]) -> None:
    """Refuse a reference of other configurations than the suite's: nothing could be paired."""
    asked = {cell.config_hash[:DIGITS]: cell.name for cell in cells}
    missing = [name for key, name in asked.items() if key not in reference.outcomes]
    beyond = [f"{o.cell} s{o.seed}" for k, o in reference.outcomes.items() if k not in asked]
    if missing or beyond:
        raise CouldNotRun(
            f"the reference is of other settings: {some(missing, len(asked))} are not in it,"
            f" {len(beyond)} of its own are not in the suite; `repro accept` a new one."
        )


def shared_conditions(runs: Sequence[Stored]) -> dict[str, Any]:
    """The conditions that all ``runs`` were made under; refuses several."""
    first = runs[0].conditions
    for run in runs[1:]:
        found = differing(first, run.conditions)
        if found:
            pairs = ", ".join(f"{key}: {a!r}, {b!r}" for key, (a, b) in found.items())
            raise CouldNotRun(f"expected runs under the same conditions, got others ({pairs}).")
    return first


def diverged_before(before: Reference | None, config_hash: str) -> bool:
    """Whether the reference before has this run as a diverged one."""
    outcome = None if before is None else before.outcomes.get(config_hash)
    return outcome is not None and outcome.accuracy is None


def some(names: Sequence[str], total: int) -> str:
    """``3 of 72 (a, b, c)``."""
    listed = "; ".join(names[:TOLD]) + (" …" if len(names) > TOLD else "")
    return f"{len(names)} of {total} ({listed})" if names else f"0 of {total}"
