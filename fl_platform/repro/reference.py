"""Accepted results of a suite: one small JSON file, committed with the suite."""

from __future__ import annotations

import json
import re
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

DIGITS = 16  # stored digits of a digest: results stay distinct and the file small


@dataclass(frozen=True)
class ReferenceRun:
    """Accepted result of one run.

    Attributes:
        cell: Name of the run without its seed.
        seed: Seed of the run.
        config_hash: First 16 digits of the config hash.
        weights: First 16 digits of the SHA-256 of the final weights.
        accuracy: Tail accuracy in percent; None if the run diverged.
    """

    cell: str
    seed: int
    config_hash: str
    weights: str
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Provenance of a reference.

    Attributes:
        accepted: Time of acceptance, in UTC.
        why: Reason for the acceptance.
        commit: Commit of the code; several commits if their source files are equal.
        conditions: What determines bits besides the configuration: code, data, versions, device,
            processor, threads.
    """

    accepted: str
    why: str
    commit: str
    conditions: dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """Accepted results by ``config_hash``, with their provenance."""

    origin: Origin
    outcomes: Mapping[str, ReferenceRun]

    def seeds(self, cell: str) -> int:
        """Number of seeds of ``cell``."""
        return sum(run.cell == cell for run in self.outcomes.values())


def by_cell(runs: Iterable[ReferenceRun]) -> dict[str, list[ReferenceRun]]:
    """Runs of each cell, in the order of their seeds."""
    found: dict[str, list[ReferenceRun]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        found.setdefault(run.cell, []).append(run)
    return found


def write_reference(path: Path, reference: Reference) -> None:
    """Write the file: one line per run, for readable diffs; n, mean and sd per cell.

    ``n``, ``mean`` and ``sd`` are for readers of the file; the program recomputes them.
    """
    cells = [_cell(name, runs) for name, runs in by_cell(reference.outcomes.values()).items()]
    head = json.dumps(vars(reference.origin), indent=1).removesuffix("\n}")
    text = "\n".join([f"{head},", ' "cells": [', ",\n".join(cells), " ]", "}", ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    path.chmod(0o644)  # committed and shared, unlike the files under mlruns/


def read_reference(path: Path) -> Reference | None:
    """Reference in ``path``; None if there is no file.

    Raises:
        ConfigError: The content differs from the format of :func:`write_reference`.
    """
    try:
        tree = parse_json(read_file(path, "reference", follow=True), path)
    except FileNotFoundError:
        return None
    except OutsideError as error:
        raise ConfigError(str(error)) from None
    try:
        cells = tree.pop("cells")
        runs = [
            build_dataclass(
                ReferenceRun,
                {"cell": cell["cell"], **dict(zip(_COLUMNS, run, strict=True))},
                path.name,
            )
            for cell in cells
            for run in cell["runs"]
        ]
    except ConfigError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path.name}: expected a reference as `repro accept` writes it, got {shown(error)}."
        ) from None
    origin = build_dataclass(Origin, tree, path.name)
    outcomes: dict[str, ReferenceRun] = {}
    for run in runs:
        told = f"{path.name}: {run.cell}, seed {run.seed}"
        if run.config_hash in outcomes:
            raise ConfigError(f"{told}: expected each run once, got {run.config_hash} twice.")
        if run.accuracy is not None and not 0 <= run.accuracy <= 100:
            raise ConfigError(f"{told}: expected a share in percent, got {run.accuracy}.")
        if run.seed < 0 or not re.fullmatch("[0-9a-f]{16}", run.config_hash):
            raise ConfigError(f"{told}: expected a seed >= 0 and 16 digits of a config hash.")
        outcomes[run.config_hash] = run
    return Reference(origin, outcomes)


_COLUMNS = ("seed", "config_hash", "weights", "accuracy")


def _cell(name: str, runs: Sequence[ReferenceRun]) -> str:
    s = summarize([run.accuracy for run in runs if run.accuracy is not None])
    head: dict[str, Any] = {"cell": name, "n": len(runs)}
    if s.n:
        head["mean"] = round(s.mean, 2)
    if s.n > 1:
        head["sd"] = round(s.sd, 2)
    lines = ",\n".join(
        "   " + json.dumps([getattr(run, column) for column in _COLUMNS]) for run in runs
    )
    return f'  {json.dumps(head, ensure_ascii=False)[:-1]}, "runs": [\n{lines}\n  ]}}'
