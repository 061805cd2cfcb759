"""The SLURM executor: one job array through submitit, the same code in every job."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fl_platform.config import Config, ConfigError
from fl_platform.config.targets import admit, admitted
from fl_platform.grid.jobs import Board, Entry
from fl_platform.grid.worker import run_cell
from fl_platform.run.result import finished
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.run_folder import run_folder

# Settings that submitit has for every cluster; all others are SLURM's own.
GENERAL = {"cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "tasks_per_node"}
GENERAL |= {"timeout_min"}
LOOK = 1.0  # seconds between two looks at the jobs


class Job:
    """The cells of one array task; called again after a preemption it goes on where it was."""

    def __init__(self, configs: Sequence[Config], home: Path, parent_run_id: str) -> None:
        self.configs, self.home, self.parent_run_id = list(configs), home, parent_run_id
        self.plugins = admitted()

    def __call__(self) -> list[tuple[str, Any, str]]:
        """The outcome of each cell."""
        for plugin in self.plugins:
            admit(plugin, self.home)
        return [run_cell(config, self.home, self.parent_run_id) for config in self.configs]

    def checkpoint(self) -> Any:
        """What submitit queues where SLURM preempts the task or its time is over."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class Slurm:
    """Works off a board with an array of at most ``jobs`` tasks at a time.

    The home must lie on a file system that the nodes share. Leaving the context cancels what is
    left; cells at work get SLURM's SIGTERM and leave a checkpoint.

    Args:
        settings: of submitit's executor, ``partition=gpu`` or ``timeout_min=60``.
        cells: in each task; more where cells are short, since every task imports all anew.
    """

    def __init__(
        self,
        home: Path,
        *,
        parent_run_id: str,
        logs: Path,
        jobs: int = 1,
        cells: int = 1,
        settings: Sequence[str] = (),
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError(
                "--executor slurm: expected submitit: pip install 'fl_platform[slurm]'"
            ) from None
        if cluster == "slurm" and shutil.which("srun") is None:
            raise ConfigError(
                "--executor slurm: expected srun on PATH, found none: this machine belongs to no"
                " SLURM cluster. Use --executor local."
            )
        self.home, self.parent_run_id, self.cells = home, parent_run_id, cells
        # Without accounting every look at a job would say so twice.
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = submitit.AutoExecutor(folder=logs / "jobs", cluster=cluster)
        own: dict[str, Any] = {"name": "fl-platform", "timeout_min": 24 * 60, "cpus_per_task": 1}
        if cluster == "slurm":
            own["slurm_array_parallelism"] = jobs
            own["slurm_setup"] = ["export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"]
        self._executor.update_parameters(**own, **dict(map(_setting, settings)))
        self._jobs: list[tuple[Any, list[Entry]]] = []

    def __enter__(self) -> Slurm:
        return self

    def __exit__(self, *error: object) -> None:
        for job, _ in self._jobs:
            if not job.done():
                job.cancel(check=False)

    def work(
        self, board: Board, changed: Callable[[Entry | None], None], stop: Callable[[], bool]
    ) -> None:
        """Submit every waiting cell and follow the jobs until all have ended."""
        waiting = board.of_state("waiting")
        groups = [waiting[i : i + self.cells] for i in range(0, len(waiting), self.cells)]
        tasks = [Job([e.cell.config for e in g], self.home, self.parent_run_id) for g in groups]
        with self._executor.batch():
            submitted = [self._executor.submit(task) for task in tasks]
        self._jobs = list(zip(submitted, groups, strict=True))
        for job in submitted:
            print(f"submitted {job.job_id}", file=sys.stderr)
        while not board.complete and not stop():
            for job, entries in self._jobs:
                self._follow(job, entries, changed)
            changed(None)
            time.sleep(LOOK)

    def _follow(self, job: Any, entries: list[Entry], changed: Callable[[Entry], None]) -> None:
        ended = job.done()
        outcomes = _outcomes(job, len(entries)) if ended else [None] * len(entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if entry.state in ("done", "failed"):
                continue
            result = finished(self.home, entry.cell.config_hash)
            lock = run_folder(self.home, entry.cell.config_hash).lock
            if result is not None:
                entry.end(result)
            elif not ended:
                if entry.state == "waiting" and is_owned(lock):
                    entry.begin()
                continue
            else:
                _, value, trace = outcome or ("", "its job ended without a word", "")
                entry.fail(value if isinstance(value, str) else f"stopped: {value.reason}", trace)
            changed(entry)


def _outcomes(job: Any, cells: int) -> list[tuple[str, Any, str]]:
    """What a job that ended says of each of its cells."""
    try:
        return list(job.results()[0])
    except Exception as error:  # cancelled, out of memory, out of time: submitit's own words
        why = " ".join(str(error).split())[-300:]
        return [("failed", f"job {job.job_id} {job.state}: {why}", "")] * cells


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--slurm: expected setting=value such as partition=gpu, got {text!r}.")
    key = name if name in GENERAL else f"slurm_{name}"
    return key, int(value) if value.isdecimal() else value
