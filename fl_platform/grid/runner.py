"""The story of a grid: file -> plan -> processes -> MLflow -> table and report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fl_platform.config import Config, ConfigError, expand
from fl_platform.console import standard_output
from fl_platform.core.process import Stopper
from fl_platform.grid.jobs import Board, Entry
from fl_platform.grid.parent import Parent, parent_of
from fl_platform.grid.plan import Cell, plan
from fl_platform.grid.progress import Screen, clock, told
from fl_platform.grid.spec import Grid, read_grid
from fl_platform.run.lookup import conditions
from fl_platform.tracking.run_folder import run_folder
from fl_platform.tracking.uploader import follow

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
EXECUTORS = ("local", "slurm")

Changed = Callable[[Entry | None], None]


@dataclass(frozen=True)
class Options:
    """How a grid is run; nothing here is part of any cell's identity.

    Attributes:
        jobs: processes; None: a GPU slot or physical core each.
        gpu_slots: cells that share one GPU; None: as many as its memory and the cores allow.
        executor: ``local``, or ``slurm`` with ``cells`` a task and submitit's settings ``slurm``.
        fresh: run every cell anew.
        continue_anyway: continue unfinished cells that other code or another machine began.
        report: write the report.
    """

    jobs: int | None = None
    gpu_slots: int | None = 1
    executor: str = "local"
    cells: int = 1
    slurm: tuple[str, ...] = ()
    fresh: bool = False
    continue_anyway: bool = False
    report: bool = True

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            expected = " or ".join(EXECUTORS)
            raise ConfigError(f"--executor: expected {expected}, got {self.executor!r}.")


@dataclass
class Outcome:
    """What a grid came to.

    Attributes:
        signal: that stopped it; 0 where it ran to its end.
        report: folder of the report, if one was written.
    """

    board: Board
    parent: Parent
    signal: int = 0
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        entries = self.board.entries
        return {
            "experiment": self.parent.grid.name,
            "run_id": self.parent.run_id,
            "cells": len(entries),
            "done": len(self.board.of_state("done")),
            "failed": len(self.board.of_state("failed")),
            "stopped_by": self.signal,
            "report": None if self.report is None else str(self.report),
            "results": [
                {
                    "config_hash": entry.cell.config_hash,
                    "name": entry.cell.name,
                    "state": entry.result.status if entry.result else entry.state.upper(),
                    "accuracy_tail": entry.result.accuracy_tail if entry.result else None,
                    "alarms": entry.result.alarms if entry.result else 0,
                    "reason": entry.reason,
                }
                for entry in entries
            ],
        }


def plan_grid(
    arguments: Sequence[str], home: Path, plugins: Sequence[str] = ()
) -> tuple[Grid, list[Cell]]:
    """The grid that ``arguments`` ask for: an experiment's name, then overrides, or these alone."""
    named = bool(arguments) and "=" not in arguments[0]
    typed = list(arguments[1:] if named else arguments)
    grid = read_grid(arguments[0], home, plugins) if named else Grid("grid", "Grid")
    chosen = [f"experiment={grid.name}"] if named else []
    combinations = (
        [*chosen, *overrides]
        for sweep in grid.sweeps(typed)
        for overrides in expand(sweep, home, plugins=plugins)
    )
    return grid, plan(combinations, home, plugins=plugins, experiment=grid.name)


def run_grid(
    grid: Grid, cells: list[Cell], home: Path, options: Options, typed: Sequence[str] = ()
) -> Outcome:
    """Run the cells that are not over yet, wherever an earlier process left them.

    A cell that fails does not stop the others. SIGINT or SIGTERM stops all with checkpoints; the
    same call then continues.
    """
    for name in ONE_THREAD:  # before numpy or torch start their own threads
        os.environ.setdefault(name, "1")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # counting must not touch CUDA
    cells = [replace(cell, config=_told(cell.config, options)) for cell in cells]
    board = Board.of(cells, home, fresh=options.fresh)
    with Stopper() as stopper, parent_of(grid, cells, home) as parent:
        parent.start(typed)
        outcome = Outcome(board, parent)
        changed = _uploading(board, parent, home)
        with Screen(board, home) as screen:
            _work(board, parent, home, options, _both(screen.changed, changed), stopper)
        outcome.signal = stopper.signal or 0
        _finish(outcome, home, options)
    return outcome


def dry(grid: Grid, cells: list[Cell], home: Path, options: Options) -> dict[str, Any]:
    """Print the cells, the time and the disk that they would take; runs a few rounds at most."""
    from fl_platform.grid.estimate import estimate

    board = Board.of(cells, home, fresh=options.fresh)
    for entry in board.entries:
        print(f"{entry.cell.config_hash[:16]}  {entry.state:8}{entry.cell.name}")
    for sentence in grid.unknown:
        print(f"unknown: {sentence}")
    todo = [entry.cell for entry in board.of_state("waiting")]
    expected = estimate(todo, home)
    jobs = slots(cells[0].config, options, home)[0]
    print(
        f"{len(cells)} cells, {len(todo)} to run: about {clock(expected.seconds / jobs)}"
        f" with {jobs} jobs and {expected.bytes / 1e6:.0f} MB ({expected.source})"
    )
    return {
        "experiment": grid.name,
        "cells": [{"config_hash": c.config_hash, "name": c.name} for c in cells],
        "to_run": len(todo),
        "jobs": jobs,
        "seconds": expected.seconds / jobs,
        "bytes": expected.bytes,
        "source": expected.source,
    }


def _work(
    board: Board, parent: Parent, home: Path, options: Options, changed: Changed, stopper: Stopper
) -> None:
    waiting = board.of_state("waiting")
    if not waiting:
        return
    if options.executor == "slurm":
        from fl_platform.grid.slurm_executor import Slurm

        board.jobs = options.jobs or len(waiting)
        executor: Any = Slurm(
            home,
            parent_run_id=parent.run_id,
            logs=parent.folder.path,
            jobs=board.jobs,
            cells=options.cells,
            settings=options.slurm,
        )
    else:
        from fl_platform.grid.local_executor import Pool, warm_up

        warm_up(home, waiting[0])
        jobs, environments = slots(waiting[0].cell.config, options, home)
        board.jobs = min(jobs, len(waiting))
        executor = Pool(
            home,
            board.jobs,
            parent_run_id=parent.run_id,
            logs=parent.folder.path,
            environments=environments,
        )
    with executor:
        executor.work(board, changed, lambda: stopper.signal is not None)


def slots(config: Config, options: Options, home: Path) -> tuple[int, list[dict[str, str]]]:
    """How many processes for runs like that of ``config``, and what each finds in its environment.

    With ``options.gpu_slots`` None the data of ``config`` are loaded to estimate its memory.
    """
    from fl_platform.grid.gpu_slots import automatic
    from fl_platform.grid.local_executor import gpus, physical_cores

    cards = gpus() if config.runtime.device in ("auto", "cuda") else []
    if not cards:
        return options.jobs or physical_cores(), [{}]
    jobs = options.jobs
    if jobs is None:
        each = options.gpu_slots or automatic(config, home, cards, physical_cores())
        jobs = len(cards) * each
    return jobs, [{"CUDA_VISIBLE_DEVICES": card} for card in cards]


def _finish(outcome: Outcome, home: Path, options: Options) -> None:
    board, parent = outcome.board, outcome.parent
    console = standard_output()
    if board.of_state("done") and not outcome.signal:  # who asks to stop does not want a report
        from fl_platform.grid import results as results

        frame = results.frame_of(home, parent.grid.name, "folders")
        hashes = [entry.cell.config_hash for entry in board.entries]
        results.show(results.tables_of(frame, hashes), console)
        _warn_of_mixed_code([conditions(home, name) for name in hashes], console)
        if options.report:
            title = parent.grid.title
            outcome.report, paths = results.write(home, parent.grid.name, frame, title=title)
            parent.attach(paths, outcome.report)
    parent.finish(board, outcome.signal)
    if outcome.signal:
        done = len(board.of_state("done"))
        console.print(f"stopped: {done} of {len(board.entries)} cells are over; the same command")
        console.print("continues the others from their checkpoints")
    for entry in board.of_state("failed"):
        console.print(f"failed: {entry.cell.name}: {told(entry)}", markup=False, soft_wrap=True)


def _warn_of_mixed_code(recorded: list[dict[str, str]], console: Console) -> None:
    for name in sorted({key for known in recorded for key in known if _is_code(key)}):
        counts = Counter(known[name] for known in recorded if name in known)
        if len(counts) > 1:
            listed = ", ".join(f"{n} runs by {code[:12]}" for code, n in counts.most_common())
            mixed = "code" if name == "code_fingerprint" else f"code of {name}"
            console.print(f"mixed {mixed}: {listed}; --fresh runs all anew", markup=False)


def _is_code(condition: str) -> bool:
    return condition == "code_fingerprint" or condition.startswith("plugin.")


def _uploading(board: Board, parent: Parent, home: Path) -> Changed:
    """Have the uploader follow the parent and each cell from its beginning on.

    What an earlier command left behind is copied too. A second process of the same grid leaves
    that to the first.
    """
    tracking = board.entries[0].cell.config.runtime.tracking
    followed: set[str] = set()

    def changed(entry: Entry | None) -> None:
        begun = board.of_state("running") if entry is None else [entry]
        for each in begun:
            key = each.cell.config_hash
            if entry is not None or key not in followed:
                followed.add(key)
                follow(home, tracking, run_folder(home, key).path)

    if parent.run is None:
        return lambda entry: None
    follow(home, tracking, parent.folder.path)
    for entry in board.of_state("done"):
        changed(entry)
    return changed


def _both(first: Changed, second: Changed) -> Changed:
    def changed(entry: Entry | None) -> None:
        first(entry)
        second(entry)

    return changed


def _told(config: Config, options: Options) -> Config:
    """``config`` with what was asked for all cells beside what was typed."""
    runtime = replace(
        config.runtime,
        fresh=config.runtime.fresh or options.fresh,
        continue_anyway=config.runtime.continue_anyway or options.continue_anyway,
    )
    return replace(config, runtime=runtime)
