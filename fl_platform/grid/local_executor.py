"""The local executor: single-threaded worker processes, forked after all imports.

In a process with threads, such as a notebook's kernel, a server without threads is started once; it
imports the modules of a run and forks the workers of this grid and of later ones.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fl_platform.config.targets import admitted
from fl_platform.core.gpus import gpus as gpus
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.worker import RunMessage, serve
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.run_folder import run_folder

TRIES = 2  # processes that may end unexpectedly before a run counts as failed
GRACE = 8.0  # seconds for a stopped worker to write a checkpoint
TICK = 0.25  # seconds to wait for a message of a worker

Changed = Callable[[Job | None], None]
Stop = Callable[[], bool]


@dataclass
class WorkerProcess:
    """A worker process, the parent's end of its pipe, and its current job."""

    process: BaseProcess
    pipe: Connection
    index: int
    job: Job | None = None


class LocalExecutor:
    """Executes the jobs of a table in ``workers`` processes; a context manager.

    A process that ends unexpectedly is replaced, and its run continues from its checkpoint, at
    most `TRIES` - 1 times. Leaving the context stops all processes; active runs write a checkpoint.

    Args:
        logs: folder for the output of the workers.
        environments: environment variables of the processes, in turn.
    """

    def __init__(
        self,
        home: Path,
        workers: int,
        *,
        parent_run_id: str = "",
        logs: Path,
        environments: Sequence[Mapping[str, str]] = ({},),
    ) -> None:
        self.home, self.workers, self.parent_run_id, self.logs = home, workers, parent_run_id, logs
        self.environments = environments
        self._context: Any = multiprocessing.get_context(start_method())
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(["fl_platform.run.runner"])
            # the server keeps the environment of its start
            self.environments = [{**os.environ, **changes} for changes in environments]
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def work(self, table: JobTable, changed: Changed, stop: Stop) -> None:
        """Run all waiting jobs.

        Args:
            changed: called with each job that ended, and with ``None`` every `TICK` seconds.
            stop: whether to stop early.
        """
        while not table.complete and not stop():
            self._assign(table)
            for worker in self._events():
                job = self._receive(worker)
                if job is not None:
                    changed(job)
            self._poll_other_processes(table, changed)
            changed(None)

    def stop(self) -> None:
        """Send SIGTERM to all workers, then SIGKILL to those left after `GRACE` seconds."""
        for worker in self._workers:
            worker.process.terminate()
        end = time.monotonic() + GRACE
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError):
                if worker.job is not None and worker.pipe.poll(max(0.0, end - time.monotonic())):
                    self._take(worker, worker.pipe.recv())
                worker.pipe.close()
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.job is not None:
                worker.job.state = "waiting"
        self._workers.clear()

    def _assign(self, table: JobTable) -> None:
        idle = [worker for worker in self._workers if worker.job is None]
        for job in table.of_state("waiting"):
            if not idle and len(self._workers) < self.workers:
                idle.append(self._start())
            if not idle:
                return
            worker = idle.pop()
            worker.job = job
            job.begin()
            with contextlib.suppress(OSError):  # ended while idle: its sentinel is ready
                worker.pipe.send(job.planned.config)

    def _start(self) -> WorkerProcess:
        index = min(set(range(self.workers)) - {worker.index for worker in self._workers})
        ours, theirs = self._context.Pipe()
        forked = self._context.get_start_method() == "fork"
        inherited = [ours, *(worker.pipe for worker in self._workers)] if forked else []
        environment = dict(self.environments[index % len(self.environments)])
        log = self.logs / f"worker-{index}.log"
        arguments = (theirs, self.home, self.parent_run_id, log, environment, inherited, admitted())
        process = self._context.Process(target=serve, args=arguments, name=f"worker-{index}")
        process.start()
        theirs.close()
        self._workers.append(WorkerProcess(process, ours, index))
        return self._workers[-1]

    def _events(self) -> list[WorkerProcess]:
        sources = {w.pipe: w for w in self._workers} | {
            w.process.sentinel: w for w in self._workers
        }
        if not sources:
            time.sleep(TICK)
            return []
        ready = wait(list(sources), TICK)
        return list({id(sources[s]): sources[s] for s in ready}.values())  # type: ignore[index]

    def _receive(self, worker: WorkerProcess) -> Job | None:
        """Handle a message or the end of ``worker``; the job that ended, if any."""
        job = worker.job
        try:
            if worker.pipe.poll():
                self._take(worker, worker.pipe.recv())
                return job
        except (EOFError, OSError):
            pass
        if worker.process.is_alive():
            return None
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if job is None:
            return None
        result = job.outcome(self.home)
        if result is not None:
            job.end(result)
            return job
        job.tries += 1
        if job.tries < TRIES:
            job.state = "waiting"
            return None
        how = _exit_text(worker.process.exitcode)
        job.fail(f"the worker process ended unexpectedly {job.tries} times, {how}")
        return job

    def _take(self, worker: WorkerProcess, message: RunMessage) -> None:
        job, worker.job = worker.job, None
        assert job is not None
        job.take(*message)

    def _poll_other_processes(self, table: JobTable, changed: Changed) -> None:
        """Update jobs that another process runs: finished now, or waiting for this one."""
        for job in table.of_state("running in another process"):
            if is_owned(run_folder(self.home, job.planned.config_hash).lock):
                continue
            result = job.outcome(self.home)
            if result is None:
                job.state = "waiting"
            else:
                job.end(result)
                changed(job)


def start_method() -> str:
    """``fork``, or ``forkserver`` after this process started a thread or initialized CUDA."""
    if os.name != "posix":
        return "spawn"
    torch = sys.modules.get("torch")
    touched = torch is not None and torch.cuda.is_initialized()
    return "forkserver" if touched or threading.active_count() > 1 else "fork"


def warm_up(home: Path, job: Job) -> None:
    """Import the modules of a run and load the data of ``job`` once, before workers are forked."""
    from fl_platform.run.build import load_population
    from fl_platform.run.runner import run  # noqa: F401

    with contextlib.suppress(Exception):  # the run itself reports it
        load_population(job.planned.config, home)


def physical_cores() -> int:
    """Number of physical cores, at most the number of CPUs available to this process."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


def _exit_text(code: int | None) -> str:
    return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
