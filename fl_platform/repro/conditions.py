"""Stored runs of a suite, their conditions, and the preconditions of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fl_platform.config import Config, setting_hash
from fl_platform.grid.plan import PlannedRun
from fl_platform.repro.reference import DIGITS, Reference, ReferenceRun
from fl_platform.run import provenance
from fl_platform.run.naming import seedless
from fl_platform.run.result import Result, finished
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

PER_SEED = "partition_digest"  # follows from the seed; the digest of the weights covers it


@dataclass(frozen=True)
class Stored:
    """Finished run: result, conditions, and the commit of its code."""

    result: Result
    conditions: dict[str, Any]
    commit: str
    dirty: bool

    def reference_run(self, cell: str, seed: int) -> ReferenceRun:
        """The run in the form of a reference."""
        result = self.result
        accuracy = result.accuracy_tail if result.status == "FINISHED" else None
        digests = (result.config_hash[:DIGITS], result.weights_sha256[:DIGITS])
        return ReferenceRun(cell, seed, *digests, accuracy)


def stored(home: Path, cell: PlannedRun) -> Stored | None:
    """Stored run of ``cell``; None if it is missing or unfinished."""
    result = finished(home, cell.config_hash)
    if result is None:
        return None
    folder = run_folder(home, cell.config_hash)
    tags = read(folder.journal).tags
    conditions = _conditions((folder.describe() or {})["conditions"], tags.get("processor", ""))
    return Stored(result, conditions, tags.get("commit", ""), tags.get("dirty") != "false")


def conditions_now(config: Config, home: Path) -> dict[str, Any]:
    """Current conditions of a run of ``config``: what determines its bits besides the config.

    Raises:
        ConfigError: This machine cannot run the configuration.
        DataError: The data are missing or damaged.
    """
    from fl_platform.run.build import choose_local, load_population, resolve_device
    from fl_platform.run.runner import conditions

    device = resolve_device(config.runtime)
    population = load_population(config, home)
    way = choose_local(config, device, population.dataset).way
    return _conditions(conditions(config, device, population, way), provenance.processor())


def renewed(cells: Sequence[PlannedRun], home: Path) -> list[PlannedRun]:
    """``cells`` with ``fresh`` set for stored runs of other conditions, so that they restart.

    An interrupted run of the current conditions continues.
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
    """Pairs of cell name and run; the cell name is the run's name without the seed.

    Cells of equal name get the first digits of their hash.
    """
    bare = [seedless(cell.name) for cell in cells]
    settings = [setting_hash(cell.config)[:6] for cell in cells]
    several = Counter(name for name, _ in set(zip(bare, settings, strict=True)))
    return [
        (name if several[name] == 1 else f"{name} #{setting}", cell)
        for name, setting, cell in zip(bare, settings, cells, strict=True)
    ]


def _conditions(recorded: dict[str, Any], processor: str) -> dict[str, Any]:
    kept = {key: value for key, value in recorded.items() if key != PER_SEED}
    return {**kept, "processor": processor}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ between two mappings, with both values."""
    keys = sorted(first.keys() | second.keys())
    return {k: (first.get(k), second.get(k)) for k in keys if first.get(k) != second.get(k)}


LISTED = 5  # names in a message


class CouldNotRun(RuntimeError):  # noqa: N818 - the wording of the verdict
    """No comparison is possible; the message says what to do."""


def refuse_unnamed_code(reference: Reference | None) -> None:
    """Refuse uncommitted code; an installed release must have the code of the reference."""
    commit, dirty = provenance.git_state()
    if dirty:
        raise CouldNotRun("expected a clean working tree, got uncommitted changes: commit them.")
    known = None if reference is None else reference.origin.conditions.get("code_fingerprint")
    if not commit and known != provenance.code_fingerprint():
        raise CouldNotRun(
            "expected a git checkout, or an installed release with the code of the reference;"
            " got neither. Run the suite from a clone of the repository."
        )


def refuse_other_runs(reference: Reference, cells: Sequence[PlannedRun]) -> None:
    """Refuse a reference whose configurations differ from those of the suite."""
    asked = {cell.config_hash[:DIGITS]: cell.name for cell in cells}
    missing = [name for key, name in asked.items() if key not in reference.outcomes]
    beyond = [f"{o.cell} s{o.seed}" for k, o in reference.outcomes.items() if k not in asked]
    if missing or beyond:
        raise CouldNotRun(
            f"the reference has other settings: {some(missing, len(asked))} of the suite are"
            f" missing in it, {len(beyond)} of its runs are not in the suite. Accept a new"
            " reference: fl-platform repro accept."
        )


def shared_conditions(runs: Sequence[Stored]) -> dict[str, Any]:
    """Conditions shared by all ``runs``; refuses runs of different conditions."""
    first = runs[0].conditions
    for run in runs[1:]:
        found = differing(first, run.conditions)
        if found:
            pairs = ", ".join(f"{key}: {a!r}, {b!r}" for key, (a, b) in found.items())
            raise CouldNotRun(
                f"expected runs of the same conditions, got different ones ({pairs})."
            )
    return first


def diverged_before(before: Reference | None, config_hash: str) -> bool:
    """Whether this run diverged in the previous reference."""
    run = None if before is None else before.outcomes.get(config_hash)
    return run is not None and run.accuracy is None


def some(names: Sequence[str], total: int) -> str:
    """``3 of 72 (a, b, c)``."""
    listed = "; ".join(names[:LISTED]) + (" …" if len(names) > LISTED else "")
    return f"{len(names)} of {total} ({listed})" if names else f"0 of {total}"
