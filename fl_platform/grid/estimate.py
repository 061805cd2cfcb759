"""How long a grid will take and how much disk: from earlier runs, else from one measured round."""

from __future__ import annotations

import stat
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl_platform.config import ConfigError
from fl_platform.grid.plan import Cell
from fl_platform.tracking.records import RecordError, skip
from fl_platform.tracking.run_folder import RunFolder, all_runs, run_folder

ROUNDS = 4  # of a measured run; the first pays for what later ones find ready


@dataclass(frozen=True)
class Estimate:
    """Of the cells still to run: seconds of one process, bytes, and where both come from."""

    seconds: float
    bytes: float
    source: str


@dataclass(frozen=True)
class Pace:
    """Seconds and bytes of one round."""

    seconds: float
    bytes: float


def estimate(cells: Sequence[Cell], home: Path) -> Estimate:
    """Time and disk of ``cells``; measures one cell of each task that was never run here."""
    if not cells:
        return Estimate(0.0, 0.0, "nothing to run")
    exact, by_task = _known(home)
    measured: dict[str, Pace] = {}
    seconds = size = 0.0
    for cell in cells:
        task = cell.config.task.name
        pace = exact.get(_kind(cell.name)) or by_task.get(task) or measured.get(task)
        if pace is None:
            pace = measured[task] = measure(cell, home)
        seconds += pace.seconds * cell.config.rounds
        size += pace.bytes * cell.config.rounds
    source = "one measured cell" if measured else "earlier runs"
    return Estimate(seconds, size, source)


def measure(cell: Cell, home: Path) -> Pace:
    """The pace of a few rounds of ``cell``, run in a folder that is removed afterwards.

    Raises:
        ConfigError: it does not run, such as for want of data.
    """
    from fl_platform.grid.worker import run_cell

    with tempfile.TemporaryDirectory(prefix="fl-measure-") as name:
        scratch = Path(name)
        for shared in ("data", "conf"):
            if (home / shared).exists():
                (scratch / shared).symlink_to(home / shared)
        config = replace(cell.config, rounds=ROUNDS)
        outcome, value, _ = run_cell(config, scratch, "")
        if outcome != "over":
            raise ConfigError(f"{cell.name}: expected a round to measure, got {value}")
        folder = run_folder(scratch, value.config_hash)
        losses = folder.history().metrics["round/loss"]
        times = [losses[step].time for step in sorted(losses)]
        seconds = (times[-1] - times[0]) / max(1, len(times) - 1)
        return Pace(seconds, _bytes(folder) / cell.config.rounds)


def _known(home: Path) -> tuple[dict[str, Pace], dict[str, Pace]]:
    """Median pace of finished runs by task, attack and defense, and by task alone."""
    exact: dict[str, list[Pace]] = defaultdict(list)
    by_task: dict[str, list[Pace]] = defaultdict(list)
    for folder in all_runs(home):
        try:
            result, described = folder.result, folder.describe() or {}
        except RecordError as error:
            skip(error)
            continue
        if not result or result.get("status") != "FINISHED" or not result.get("rounds"):
            continue
        rounds = result["rounds"]
        pace = Pace((result.get("seconds") or 0.0) / rounds, _bytes(folder) / rounds)
        exact[_kind(described["name"])].append(pace)
        by_task[described["name"].partition(" ")[0]].append(pace)
    return _medians(exact), _medians(by_task)


def _medians(paces: dict[str, list[Pace]]) -> dict[str, Pace]:
    return {
        key: Pace(
            statistics.median(pace.seconds for pace in found),
            statistics.median(pace.bytes for pace in found),
        )
        for key, found in paces.items()
    }


def _kind(name: str) -> str:
    """A run's name without its seed."""
    return name.rpartition(" ")[0]


def _bytes(folder: RunFolder) -> int:
    files = (file.lstat() for file in folder.path.rglob("*"))
    return sum(file.st_size for file in files if stat.S_ISREG(file.st_mode))
