"""The story of a grid: plan, execute, upload, report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fl_platform.config import Config, ConfigError
from fl_platform.core.process import Stopper
from fl_platform.core.terminal import Terminal, wide_output
from fl_platform.grid.grid_run import GridRun, open_grid_run
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.plan import plan_grid as plan_grid  # its place up to version 0.2
from fl_platform.grid.progress_table import ProgressTable, clock, outcome_text
from fl_platform.grid.spec import Grid
from fl_platform.run.lookup import conditions
from fl_platform.tracking.run_folder import run_folder
from fl_platform.tracking.uploader import follow

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
EXECUTORS = ("local", "slurm")

Changed = Callable[[Job | None], None]


@dataclass(frozen=True)
class Options:
    """How a grid is executed; not part of any configuration hash.

    Attributes:
        jobs: number of worker processes. Default: ``gpu_slots`` per GPU, or one per physical core.
        gpu_slots: number of workers per GPU; None: as many as its free memory and the cores allow.
        executor: ``local`` or ``slurm``.
        cells: number of runs per SLURM task.
        slurm: options of submitit's executor, such as ``partition=gpu``.
        fresh: restart every run from round 0.
        continue_anyway: continue runs that other code or another machine has begun.
        report: whether to write the report.
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


@dataclass(repr=False)
class GridResult:
    """Jobs, parent run and report of a grid.

    Attributes:
        signal: number of the signal that stopped the grid, else 0.
        report: folder of the report, if one was written.
    """

    table: JobTable
    parent: GridRun
    signal: int = 0
    report: Path | None = None

    @property
    def hashes(self) -> list[str]:
        """The configuration hashes of all runs, in the order of the grid."""
        return [job.planned.config_hash for job in self.table.jobs]

    def __repr__(self) -> str:
        states = Counter(job.state for job in self.table.jobs)
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"<GridResult of {self.parent.grid.name!r}: {told}>"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        jobs = self.table.jobs
        return {
            "experiment": self.parent.grid.name,
            "run_id": self.parent.run_id,
            "cells": len(jobs),
            "done": len(self.table.of_state("done")),
            "failed": len(self.table.of_state("failed")),
            "stopped_by": self.signal,
            "report": None if self.report is None else str(self.report),
            "results": [
                {
                    "config_hash": job.planned.config_hash,
                    "name": job.planned.name,
                    "state": job.result.status if job.result else _JSON_STATES[job.state],
                    "accuracy_tail": job.result.accuracy_tail if job.result else None,
                    "alarms": job.result.alarms if job.result else 0,
                    "reason": job.reason,
                }
                for job in jobs
            ],
        }


Outcome = GridResult  # the name up to version 0.1
_JSON_STATES = {
    "waiting": "WAITING",
    "running": "RUNNING",
    "running in another process": "ELSEWHERE",
    "done": "DONE",
    "failed": "FAILED",
}


def run_grid(
    grid: Grid, planned: list[PlannedRun], home: Path, options: Options, typed: Sequence[str] = ()
) -> GridResult:
    """Execute the runs without a stored result; interrupted runs continue from checkpoints.

    A run that fails does not stop the others. SIGINT or SIGTERM stops all runs with a checkpoint;
    the same call continues them.
    """
    set_threads()
    planned = [replace(run, config=with_options(run.config, options)) for run in planned]
    table = JobTable.of(planned, home, fresh=options.fresh)
    with Stopper() as stopper, open_grid_run(grid, planned, home) as parent:
        parent.start(typed)
        result = GridResult(table, parent)
        upload = _uploading(table, parent, home)
        with ProgressTable(table, home) as progress:
            _execute(table, parent, home, options, _both(progress.changed, upload), stopper)
        result.signal = stopper.signal or 0
        finish(result, home, options)
    return result


def set_threads() -> None:
    """One thread per process, set before numpy or torch start their own."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # counting GPUs without CUDA


def dry(grid: Grid, planned: list[PlannedRun], home: Path, options: Options) -> dict[str, Any]:
    """Print the planned runs and an estimate of time and disk space, after a few rounds at most."""
    from fl_platform.grid.estimate import estimate

    table = JobTable.of(planned, home, fresh=options.fresh)
    for job in table.jobs:
        print(f"{job.planned.config_hash[:16]}  {job.state:8}{job.planned.name}")
    for sentence in grid.unknown:
        print(f"unknown: {sentence}")
    waiting = [job.planned for job in table.of_state("waiting")]
    expected = estimate(waiting, home)
    workers = plan_workers(planned[0].config, options, home)[0]
    print(
        f"{len(planned)} runs, {len(waiting)} of them not finished: about"
        f" {clock(expected.seconds / workers)} with {workers} worker processes and"
        f" {expected.bytes / 1e6:.0f} MB (estimated from {expected.source})"
    )
    return {
        "experiment": grid.name,
        "cells": [{"config_hash": run.config_hash, "name": run.name} for run in planned],
        "to_run": len(waiting),
        "jobs": workers,
        "seconds": expected.seconds / workers,
        "bytes": expected.bytes,
        "source": expected.source,
    }


def _execute(
    table: JobTable,
    parent: GridRun,
    home: Path,
    options: Options,
    changed: Changed,
    stopper: Stopper,
) -> None:
    waiting = table.of_state("waiting")
    if not waiting:
        return
    if options.executor == "slurm":
        from fl_platform.grid.slurm_executor import SlurmExecutor

        table.workers = options.jobs or len(waiting)
        executor: Any = SlurmExecutor(
            home,
            parent_run_id=parent.run_id,
            logs=parent.folder.path,
            workers=table.workers,
            runs_per_task=options.cells,
            settings=options.slurm,
        )
    else:
        from fl_platform.grid.local_executor import LocalExecutor, warm_up

        warm_up(home, waiting[0])
        workers, environments = plan_workers(waiting[0].planned.config, options, home)
        table.workers = min(workers, len(waiting))
        executor = LocalExecutor(
            home,
            table.workers,
            parent_run_id=parent.run_id,
            logs=parent.folder.path,
            environments=environments,
        )
    with executor:
        executor.work(table, changed, lambda: stopper.signal is not None)


def plan_workers(config: Config, options: Options, home: Path) -> tuple[int, list[dict[str, str]]]:
    """Number of worker processes for runs like that of ``config``, and their environments.

    With ``options.gpu_slots`` None the data of ``config`` are loaded to estimate its memory.
    """
    from fl_platform.grid.local_executor import gpus, physical_cores
    from fl_platform.grid.workers_per_gpu import fitting

    cards = gpus() if config.runtime.device in ("auto", "cuda") else []
    if not cards:
        return options.jobs or physical_cores(), [{}]
    workers = options.jobs
    if workers is None:
        per_gpu = options.gpu_slots or fitting(config, home, cards, physical_cores())
        workers = len(cards) * per_gpu
    return workers, [{"CUDA_VISIBLE_DEVICES": card} for card in cards]


def finish(result: GridResult, home: Path, options: Options) -> None:
    """Print the table, write the report and the status of the parent run."""
    table, parent = result.table, result.parent
    console = wide_output()
    if table.of_state("done") and not result.signal:  # a stop takes precedence over the report
        from fl_platform.grid import results as results

        frame = results.frame_of(home, parent.grid.name, "folders")
        hashes = result.hashes
        results.show(results.tables_of(frame, hashes), console)
        _warn_of_mixed_code([conditions(home, name) for name in hashes], console)
        if options.report:
            title = parent.grid.title
            result.report, paths = results.write(home, parent.grid.name, frame, title=title)
            parent.attach(paths, result.report)
    parent.finish(table, result.signal)
    if result.signal:
        done = len(table.of_state("done"))
        console.print(f"stopped: {done} of {len(table.jobs)} runs are finished; the same command")
        console.print("continues the others from their checkpoints")
    for job in table.of_state("failed"):
        text = f"failed: {job.planned.name}: {outcome_text(job)}"
        console.print(text, soft_wrap=True)


def _warn_of_mixed_code(recorded: list[dict[str, str]], console: Terminal) -> None:
    for name in sorted({key for known in recorded for key in known if _is_code(key)}):
        counts = Counter(known[name] for known in recorded if name in known)
        if len(counts) > 1:
            listed = ", ".join(f"{n} runs by {code[:12]}" for code, n in counts.most_common())
            mixed = "code" if name == "code_fingerprint" else f"code of {name}"
            console.print(f"mixed {mixed}: {listed}; --restart repeats all runs")


def _is_code(condition: str) -> bool:
    return condition == "code_fingerprint" or condition.startswith("plugin.")


def _uploading(table: JobTable, parent: GridRun, home: Path) -> Changed:
    """Callback that uploads the parent run and each run from its start on.

    Runs that an earlier command did not upload are uploaded too. A second process of the same grid
    uploads nothing.
    """
    tracking = table.jobs[0].planned.config.runtime.tracking
    followed: set[str] = set()

    def changed(job: Job | None) -> None:
        begun = table.of_state("running") if job is None else [job]
        for each in begun:
            key = each.planned.config_hash
            if job is not None or key not in followed:
                followed.add(key)
                follow(home, tracking, run_folder(home, key).path)

    if parent.run is None:
        return lambda job: None
    follow(home, tracking, parent.folder.path)
    for job in table.of_state("done"):
        changed(job)
    return changed


def _both(first: Changed, second: Changed) -> Changed:
    def changed(job: Job | None) -> None:
        first(job)
        second(job)

    return changed


def with_options(config: Config, options: Options) -> Config:
    """``config`` with the options that hold for all runs."""
    runtime = replace(
        config.runtime,
        fresh=config.runtime.fresh or options.fresh,
        continue_anyway=config.runtime.continue_anyway or options.continue_anyway,
    )
    return replace(config, runtime=runtime)
