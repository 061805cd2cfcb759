"""Estimate a grid's time and disk space from earlier runs or from a few measured rounds."""

from __future__ import annotations

import stat
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl_platform.config import ConfigError
from fl_platform.grid.plan import PlannedRun
from fl_platform.run.naming import seedless, task_of
from fl_platform.tracking.records import RecordError, skip
from fl_platform.tracking.run_folder import RunFolder, all_runs, run_folder

ROUNDS = 4  # of a measured run; the first round includes start-up costs


@dataclass(frozen=True)
class Estimate:
    """Cost of the runs that are not finished.

    Attributes:
        seconds: total time in one process.
        bytes: total disk space.
        source: data behind the estimate, as a phrase for the terminal.
    """

    seconds: float
    bytes: float
    source: str


@dataclass(frozen=True)
class CostPerRound:
    """Seconds and bytes per round."""

    seconds: float
    bytes: float


def estimate(planned: Sequence[PlannedRun], home: Path) -> Estimate:
    """Time and disk space of ``planned``; measures one run of each task without earlier runs."""
    if not planned:
        return Estimate(0.0, 0.0, "nothing to run")
    exact, by_task = _known(home)
    measured: dict[str, CostPerRound] = {}
    seconds = size = 0.0
    for run in planned:
        task = run.config.task.name
        cost = exact.get(seedless(run.name)) or by_task.get(task) or measured.get(task)
        if cost is None:
            cost = measured[task] = measure(run, home)
        seconds += cost.seconds * run.config.rounds
        size += cost.bytes * run.config.rounds
    source = "one measured run" if measured else "earlier runs"
    return Estimate(seconds, size, source)


def measure(run: PlannedRun, home: Path) -> CostPerRound:
    """Measure ``run`` over `ROUNDS` rounds in a temporary folder.

    Raises:
        ConfigError: the run fails, for example because its data are missing.
    """
    from fl_platform.grid.worker import run_one

    with tempfile.TemporaryDirectory(prefix="fl-measure-") as name:
        scratch = Path(name)
        for shared in ("data", "conf"):
            if (home / shared).exists():
                (scratch / shared).symlink_to(home / shared)
        config = replace(run.config, rounds=ROUNDS)
        state, value, _ = run_one(config, scratch, "")
        if state != "ended":
            raise ConfigError(f"{run.name}: expected a round to measure, got {value}")
        folder = run_folder(scratch, value.config_hash)
        losses = folder.history().metrics["round/loss"]
        times = [losses[step].time for step in sorted(losses)]
        seconds = (times[-1] - times[0]) / max(1, len(times) - 1)
        return CostPerRound(seconds, _bytes(folder) / run.config.rounds)


def _known(home: Path) -> tuple[dict[str, CostPerRound], dict[str, CostPerRound]]:
    """Median cost of finished runs, by run name without seed and by task."""
    exact: dict[str, list[CostPerRound]] = defaultdict(list)
    by_task: dict[str, list[CostPerRound]] = defaultdict(list)
    for folder in all_runs(home):
        try:
            result, described = folder.result, folder.describe() or {}
        except RecordError as error:
            skip(error)
            continue
        if not result or result.get("status") != "FINISHED" or not result.get("rounds"):
            continue
        rounds = result["rounds"]
        cost = CostPerRound((result.get("seconds") or 0.0) / rounds, _bytes(folder) / rounds)
        exact[seedless(described["name"])].append(cost)
        by_task[task_of(described["name"])].append(cost)
    return _medians(exact), _medians(by_task)


def _medians(costs: dict[str, list[CostPerRound]]) -> dict[str, CostPerRound]:
    return {
        key: CostPerRound(
            statistics.median(cost.seconds for cost in found),
            statistics.median(cost.bytes for cost in found),
        )
        for key, found in costs.items()
    }


def _bytes(folder: RunFolder) -> int:
    files = (file.lstat() for file in folder.path.rglob("*"))
    return sum(file.st_size for file in files if stat.S_ISREG(file.st_mode))
