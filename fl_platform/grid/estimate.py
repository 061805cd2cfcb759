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
class Cost:
    """Cost of a run.

    Attributes:
        seconds: per round.
        growth: bytes per round, of the journal and of clouds of updates.
        fixed: bytes of checkpoints, weights and figures, which more rounds do not increase.
    """

    seconds: float
    growth: float
    fixed: float


def estimate(planned: Sequence[PlannedRun], home: Path) -> Estimate:
    """Time and disk space of ``planned``; measures one run of each task without earlier runs."""
    if not planned:
        return Estimate(0.0, 0.0, "nothing to run")
    exact, by_task = _known(home)
    measured: dict[str, Cost] = {}
    seconds = size = 0.0
    for run in planned:
        task = run.config.task.name
        cost = exact.get(seedless(run.name)) or by_task.get(task) or measured.get(task)
        if cost is None:
            cost = measured[task] = measure(run, home)
        seconds += cost.seconds * run.config.rounds
        size += cost.growth * run.config.rounds + cost.fixed
    source = "one measured run" if measured else "earlier runs"
    return Estimate(seconds, size, source)


def measure(run: PlannedRun, home: Path) -> Cost:
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
        return _cost(seconds * run.config.rounds, run.config.rounds, folder)


def _known(home: Path) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Median cost of finished runs, by run name without seed and by task."""
    exact: dict[str, list[Cost]] = defaultdict(list)
    by_task: dict[str, list[Cost]] = defaultdict(list)
    for folder in all_runs(home):
        try:
            result, described = folder.result, folder.describe() or {}
        except RecordError as error:
            skip(error)
            continue
        if not result or result.get("status") != "FINISHED" or not result.get("rounds"):
            continue
        rounds = result["rounds"]
        cost = _cost(result.get("seconds") or 0.0, rounds, folder)
        exact[seedless(described["name"])].append(cost)
        by_task[task_of(described["name"])].append(cost)
    return _medians(exact), _medians(by_task)


def _medians(costs: dict[str, list[Cost]]) -> dict[str, Cost]:
    return {
        key: Cost(
            statistics.median(cost.seconds for cost in found),
            statistics.median(cost.growth for cost in found),
            statistics.median(cost.fixed for cost in found),
        )
        for key, found in costs.items()
    }


def _cost(seconds: float, rounds: int, folder: RunFolder) -> Cost:
    """Cost of a run that took ``seconds`` for ``rounds``."""
    fixed = grows = 0
    for file in folder.path.rglob("*"):
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode):
            continue
        if file == folder.journal or file.suffix == ".npz":
            grows += found.st_size
        else:
            fixed += found.st_size
    return Cost(seconds / rounds, grows / rounds, fixed)
