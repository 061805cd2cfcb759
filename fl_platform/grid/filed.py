"""The runs of an experiment: those filed under its name, and those that its grids share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest, shown
from fl_platform.tracking.records import RecordError, StoredPlan, read_record, skip
from fl_platform.tracking.run_folder import all_runs

if TYPE_CHECKING:
    import pandas as pd

PLAN = "plan.json"  # among the artifacts of a grid's parent run


def runs_of(home: Path, runs: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The rows of ``runs`` that belong to ``experiment``, with those of other experiments.

    Raises:
        ConfigError: there is none; the message suggests the nearest name that has runs.
    """
    hashes = planned_hashes(home, experiment)
    found = runs[(runs["experiment"] == experiment) | runs["config_hash"].isin(hashes)]
    if found.empty:
        known = sorted(set(runs["experiment"]))
        raise ConfigError(
            f"experiment: expected one that has runs, got {shown(experiment)}"
            f"{nearest(experiment, known)} There are: {', '.join(known) or 'none'}."
        )
    return found


def planned_hashes(home: Path, experiment: str) -> set[str]:
    """Configuration hashes of all runs that grids of ``experiment`` have planned in ``home``."""
    hashes: set[str] = set()
    for folder in all_runs(home):
        if (folder.describe() or {}).get("experiment") != experiment:
            continue
        try:
            plan = read_record(folder.artifacts / PLAN, StoredPlan, "plan") or {"cells": []}
        except RecordError as error:
            skip(error)
            continue
        hashes |= {run["config_hash"] for run in plan["cells"]}
    return hashes
