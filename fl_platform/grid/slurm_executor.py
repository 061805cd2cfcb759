"""The SLURM executor: one job array through submitit."""

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
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.worker import RunMessage, run_one
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.run_folder import run_folder

# Settings of submitit for every cluster; all others are SLURM's own.
GENERAL = {"cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "tasks_per_node"}
GENERAL |= {"timeout_min"}
POLL = 1.0  # seconds between two queries of the array tasks


class ArrayTask:
    """The runs of one array task; after a preemption a second call continues them."""

    def __init__(self, configs: Sequence[Config], home: Path, parent_run_id: str) -> None:
        self.configs, self.home, self.parent_run_id = list(configs), home, parent_run_id
        self.plugins = admitted()

    def __call__(self) -> list[RunMessage]:
        """Execute the runs; one message per run."""
        for plugin in self.plugins:
            admit(plugin, self.home)
        return [run_one(config, self.home, self.parent_run_id) for config in self.configs]

    def checkpoint(self) -> Any:
        """Submission that submitit queues after a preemption or timeout."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class SlurmExecutor:
    """Executes the jobs of a table in a SLURM array; a context manager.

    The workspace must be on a file system that all nodes share. Leaving the context cancels the
    remaining tasks; active runs receive SIGTERM and write a checkpoint.

    Args:
        workers: maximal number of array tasks at a time.
        runs_per_task: number of runs per array task. More than one saves start-up time where runs
            are short.
        settings: options of submitit's executor, such as ``partition=gpu``.
    """

    def __init__(
        self,
        home: Path,
        *,
        parent_run_id: str,
        logs: Path,
        workers: int = 1,
        runs_per_task: int = 1,
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
                "--executor slurm: expected srun on PATH, found none: this machine is not part"
                " of a SLURM cluster. Use --executor local."
            )
        self.home, self.parent_run_id, self.runs_per_task = home, parent_run_id, runs_per_task
        # Without SLURM accounting every query would log two warnings.
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = submitit.AutoExecutor(folder=logs / "jobs", cluster=cluster)
        own: dict[str, Any] = {"name": "fl-platform", "timeout_min": 24 * 60, "cpus_per_task": 1}
        if cluster == "slurm":
            own["slurm_array_parallelism"] = workers
            own["slurm_setup"] = ["export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"]
        self._executor.update_parameters(**own, **dict(map(_setting, settings)))
        self._tasks: list[tuple[Any, list[Job]]] = []

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        for task, _ in self._tasks:
            if not task.done():
                task.cancel(check=False)

    def work(
        self, table: JobTable, changed: Callable[[Job | None], None], stop: Callable[[], bool]
    ) -> None:
        """Submit all waiting jobs and poll the array tasks until all have ended."""
        waiting = table.of_state("waiting")
        size = self.runs_per_task
        groups = [waiting[i : i + size] for i in range(0, len(waiting), size)]
        tasks = [
            ArrayTask([job.planned.config for job in group], self.home, self.parent_run_id)
            for group in groups
        ]
        with self._executor.batch():
            submitted = [self._executor.submit(task) for task in tasks]
        self._tasks = list(zip(submitted, groups, strict=True))
        for each in submitted:
            print(f"submitted {each.job_id}", file=sys.stderr)
        while not table.complete and not stop():
            for task, jobs in self._tasks:
                self._poll(task, jobs, changed)
            changed(None)
            time.sleep(POLL)

    def _poll(self, task: Any, jobs: list[Job], changed: Callable[[Job], None]) -> None:
        ended = task.done()
        messages = _messages(task, len(jobs)) if ended else [None] * len(jobs)
        for job, message in zip(jobs, messages, strict=True):
            if job.state in ("done", "failed"):
                continue
            result = job.outcome(self.home)
            lock = run_folder(self.home, job.planned.config_hash).lock
            if result is not None:
                job.end(result)
            elif not ended:
                if job.state == "waiting" and is_owned(lock):
                    job.begin()
                continue
            else:
                _, value, trace = message or ("", "the SLURM task ended without a result", "")
                job.fail(value if isinstance(value, str) else f"stopped: {value.reason}", trace)
            changed(job)


def _messages(task: Any, runs: int) -> list[RunMessage]:
    """One message per run of a task that ended."""
    try:
        return list(task.results()[0])
    except Exception as error:  # cancelled, out of memory or time: the text is submitit's
        why = " ".join(str(error).split())[-300:]
        return [("failed", f"SLURM task {task.job_id} {task.state}: {why}", "")] * runs


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--slurm: expected setting=value such as partition=gpu, got {text!r}.")
    key = name if name in GENERAL else f"slurm_{name}"
    return key, int(value) if value.isdecimal() else value
