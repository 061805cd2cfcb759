"""Two grid workers against two bare loops over the same runs, in turns.

    python benchmarks/pool.py --cells 16 --repeats 3
    python benchmarks/pool.py --cells 200 --rounds 10 --repeats 1

A bare loop is a forked process that calls ``run`` on its half of the runs, one after the other: the
lower bound for parallel runs. Both start from one parent that has imported all modules and loaded
the data. Wall seconds: run it on a quiet machine. The ratio is the time of the bare loops over that
of the workers; one bare loop over all runs measures the gain of the second processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.interleaved import machine, write
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.local_executor import LocalExecutor, warm_up
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.runner import plan_grid
from fl_platform.run.runner import run

REPOSITORY = Path(__file__).resolve().parents[1]


def bare(cells: Sequence[PlannedRun], home: Path, loops: int) -> None:
    children = []
    for part in range(loops):
        child = os.fork()
        if child == 0:
            for cell in cells[part::loops]:
                run(cell.config, home)
            os._exit(0)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError("a bare loop failed")


def pooled(cells: Sequence[PlannedRun], home: Path) -> None:
    table = JobTable.of(cells, home)
    (home / "logs").mkdir()
    with LocalExecutor(home, 2, logs=home / "logs") as pool:
        pool.work(table, lambda _: None, lambda: False)
    if table.of_state("failed"):
        raise RuntimeError("a cell failed")


def seconds(work: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf").symlink_to(REPOSITORY / "conf")
        before = time.perf_counter()
        work(Path(folder))
        return time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    typed = ["attack=strike", "defense=multi_krum", f"rounds={options.rounds}"]
    typed.append(f"seed=range(0,{options.cells})")
    quiet = ["runtime.tracking=journal", "runtime.progress=none"]
    _, cells = plan_grid([*typed, *quiet], REPOSITORY)
    warm_up(REPOSITORY, JobTable.of(cells, Path(tempfile.gettempdir())).jobs[0])
    ways: dict[str, Callable[[Path], None]] = {
        "one bare loop": lambda home: bare(cells, home, 1),
        "two bare loops": lambda home: bare(cells, home, 2),
        "two workers": lambda home: pooled(cells, home),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            times[name].append(seconds(way))
    middle = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "cells": options.cells,
        "rounds": options.rounds,
        "seconds": {name: [round(v, 2) for v in values] for name, values in times.items()},
        "speed-up of two bare loops": middle["one bare loop"] / middle["two bare loops"],
        "speed-up of two workers": middle["one bare loop"] / middle["two workers"],
        "workers over bare loops": middle["two bare loops"] / middle["two workers"],
        "machine": machine(),
    }
    write(report, options.json)


if __name__ == "__main__":
    main()
