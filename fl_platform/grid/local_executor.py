"""The local executor: processes of one thread each, forked from a parent that imported all."""

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
from fl_platform.grid.jobs import Board, Entry
from fl_platform.grid.worker import serve
from fl_platform.run.result import finished
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.run_folder import run_folder

TRIES = 2  # a cell whose process died this often is not tried again
GRACE = 8.0  # seconds that a stopped worker has to leave with a checkpoint
TICK = 0.25

Changed = Callable[[Entry | None], None]
Stop = Callable[[], bool]


@dataclass
class Worker:
    """A process, our end of its pipe, and the cell that it works on."""

    process: BaseProcess
    pipe: Connection
    slot: int
    entry: Entry | None = None


class Pool:
    """Works off a board with ``jobs`` processes.

    A worker that dies is replaced and its cell continued once more from its checkpoint. Leaving
    the context stops all workers, those at work with a checkpoint.

    Args:
        environments: one for each process, in turn: which GPU it sees.
        logs: folder for what workers print.
    """

    def __init__(
        self,
        home: Path,
        jobs: int,
        *,
        parent_run_id: str = "",
        logs: Path,
        environments: Sequence[Mapping[str, str]] = ({},),
    ) -> None:
        self.home, self.jobs, self.parent_run_id, self.logs = home, jobs, parent_run_id, logs
        self.environments = environments
        self._context: Any = multiprocessing.get_context(start_method())
        self._workers: list[Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def work(self, board: Board, changed: Changed, stop: Stop) -> None:
        """Run every waiting cell; ``changed`` is called with each that ended, and now and then."""
        while not board.complete and not stop():
            self._assign(board)
            for worker in self._events():
                entry = self._hear(worker)
                if entry is not None:
                    changed(entry)
            self._look_elsewhere(board, changed)
            changed(None)

    def stop(self) -> None:
        """One SIGTERM each; whoever has not left after a grace is killed."""
        for worker in self._workers:
            worker.process.terminate()
        end = time.monotonic() + GRACE
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError):
                if worker.entry is not None and worker.pipe.poll(max(0.0, end - time.monotonic())):
                    self._take(worker, worker.pipe.recv())
                worker.pipe.close()
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.entry is not None:
                worker.entry.state = "waiting"
        self._workers.clear()

    def _assign(self, board: Board) -> None:
        idle = [worker for worker in self._workers if worker.entry is None]
        for entry in board.of_state("waiting"):
            if not idle and len(self._workers) < self.jobs:
                idle.append(self._start())
            if not idle:
                return
            worker = idle.pop()
            worker.entry = entry
            entry.begin()
            with contextlib.suppress(OSError):  # died idle: its sentinel tells
                worker.pipe.send(entry.cell.config)

    def _start(self) -> Worker:
        slot = min(set(range(self.jobs)) - {worker.slot for worker in self._workers})
        ours, theirs = self._context.Pipe()
        forked = self._context.get_start_method() == "fork"
        inherited = [ours, *(worker.pipe for worker in self._workers)] if forked else []
        environment = dict(self.environments[slot % len(self.environments)])
        log = self.logs / f"worker-{slot}.log"
        arguments = (theirs, self.home, self.parent_run_id, log, environment, inherited, admitted())
        process = self._context.Process(target=serve, args=arguments, name=f"worker-{slot}")
        process.start()
        theirs.close()
        self._workers.append(Worker(process, ours, slot))
        return self._workers[-1]

    def _events(self) -> list[Worker]:
        sources = {w.pipe: w for w in self._workers} | {
            w.process.sentinel: w for w in self._workers
        }
        if not sources:
            time.sleep(TICK)
            return []
        ready = wait(list(sources), TICK)
        return list({id(sources[s]): sources[s] for s in ready}.values())  # type: ignore[index]

    def _hear(self, worker: Worker) -> Entry | None:
        """What a worker says, or that it died; the entry that ended by it."""
        entry = worker.entry
        try:
            if worker.pipe.poll():
                self._take(worker, worker.pipe.recv())
                return entry
        except (EOFError, OSError):
            pass
        if worker.process.is_alive():
            return None
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if entry is None:
            return None
        result = finished(self.home, entry.cell.config_hash)
        if result is not None:
            entry.end(result)
            return entry
        entry.tries += 1
        if entry.tries < TRIES:
            entry.state = "waiting"
            return None
        entry.fail(f"its process died {_how(worker.process.exitcode)}, {entry.tries} times")
        return entry

    def _take(self, worker: Worker, outcome: tuple[str, Any, str]) -> None:
        entry, worker.entry = worker.entry, None
        kind, value, trace = outcome
        assert entry is not None
        if kind == "over":
            entry.end(value)
        elif kind == "elsewhere":
            entry.state, entry.reason = "elsewhere", value
        else:
            entry.fail(value, trace)

    def _look_elsewhere(self, board: Board, changed: Changed) -> None:
        """Cells that another process worked on: over by now, or left to us."""
        for entry in board.of_state("elsewhere"):
            if is_owned(run_folder(self.home, entry.cell.config_hash).lock):
                continue
            result = finished(self.home, entry.cell.config_hash)
            if result is None:
                entry.state = "waiting"
            else:
                entry.end(result)
                changed(entry)


def start_method() -> str:
    """``fork``, unless a thread runs or CUDA was touched here, which a fork would not survive."""
    torch = sys.modules.get("torch")
    touched = torch is not None and torch.cuda.is_initialized()
    return "spawn" if touched or threading.active_count() > 1 or os.name != "posix" else "fork"


def warm_up(home: Path, entry: Entry) -> None:
    """Import what a run needs and load the first cell's data, once for all forks."""
    from fl_platform.run.build import load_population
    from fl_platform.run.runner import run  # noqa: F401

    with contextlib.suppress(Exception):  # told by the cell itself, where it is caught
        load_population(entry.cell.config, home)


def physical_cores() -> int:
    """Cores that do not share one with another, among those that this process may use."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


def gpus() -> list[str]:
    """The GPUs that may be used, by NVML or ``CUDA_VISIBLE_DEVICES``; does not touch CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() and name.strip() != "-1"]
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
        finally:
            pynvml.nvmlShutdown()
    return []


def _how(code: int | None) -> str:
    return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
