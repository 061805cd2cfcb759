"""The accepted results of a suite: one small JSON file, committed beside the suite."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_platform.config import ConfigError
from fl_platform.config.errors import shown
from fl_platform.config.validation import build_dataclass
from fl_platform.core.outside import OutsideError, parse_json, read_file
from fl_platform.report.statistics import summarize
from fl_platform.tracking.atomic import write_atomic

DIGITS = 16  # of a digest: enough to tell results apart, and the file stays small


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        cell: the run's name without its seed.
        config_hash, weights: the first 16 digits of each; of the final weights' SHA-256.
        accuracy: the tail's, in percent; None where the run diverged.
    """

    cell: str
    seed: int
    config_hash: str
    weights: str
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a reference comes from.

    Attributes:
        accepted: when, in UTC, and ``why``, in a person's words.
        commit: of the code; several only where no Python file differs between them.
        conditions: what decides bits beside the configuration: code, data, versions, device,
            processor, threads.
    """

    accepted: str
    why: str
    commit: str
    conditions: dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """Accepted results by ``config_hash``, and where they come from."""

    origin: Origin
    outcomes: Mapping[str, Outcome]

    def seeds(self, cell: str) -> int:
        """How many seeds stand behind ``cell``."""
        return sum(outcome.cell == cell for outcome in self.outcomes.values())


def by_cell(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each cell, by seed."""
    found: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seed):
        found.setdefault(outcome.cell, []).append(outcome)
    return found


def write_reference(path: Path, reference: Reference) -> None:
    """Write the file: one line a run, so that a change reads well in a diff; n and spread a cell.

    ``n``, ``mean`` and ``sd`` are for people: they are read from the runs again.
    """
    cells = [_cell(name, runs) for name, runs in by_cell(reference.outcomes.values()).items()]
    head = json.dumps(vars(reference.origin), indent=1).removesuffix("\n}")
    text = "\n".join([f"{head},", ' "cells": [', ",\n".join(cells), " ]", "}", ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    path.chmod(0o644)  # it is to be committed and shared, unlike what lies under mlruns/


def read_reference(path: Path) -> Reference | None:
    """The reference in ``path``, or None where there is no file.

    Raises:
        ConfigError: it is not what :func:`write_reference` writes.
    """
    try:
        tree = parse_json(read_file(path, "reference", follow=True), path)
    except FileNotFoundError:
        return None
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    try:
        cells = tree.pop("cells")
        outcomes = [
            build_dataclass(
                Outcome, {"cell": cell["cell"], **dict(zip(_COLUMNS, run, strict=True))}, path.name
            )
            for cell in cells
            for run in cell["runs"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path.name}: expected a reference as `repro accept` writes it, got {shown(error)}."
        ) from None
    origin = build_dataclass(Origin, tree, path.name)
    return Reference(origin, {outcome.config_hash: outcome for outcome in outcomes})


_COLUMNS = ("seed", "config_hash", "weights", "accuracy")


def _cell(name: str, runs: Sequence[Outcome]) -> str:
    s = summarize([run.accuracy for run in runs if run.accuracy is not None])
    told: dict[str, Any] = {"cell": name, "n": len(runs)}
    if s.n:
        told["mean"] = round(s.mean, 2)
    if s.n > 1:
        told["sd"] = round(s.sd, 2)
    lines = ",\n".join(
        "   " + json.dumps([getattr(run, column) for column in _COLUMNS]) for run in runs
    )
    return f'  {json.dumps(told, ensure_ascii=False)[:-1]}, "runs": [\n{lines}\n  ]}}'
