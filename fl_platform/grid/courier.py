"""The grid's way to MLflow: one process beside the workers, so that its import is paid once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fl_platform.core.text import reason
from fl_platform.grid.worker import detach
from fl_platform.tracking.run_folder import RunFolder

GIVE_UP = 3  # failures in a row, each of which may have waited for a server


class Courier:
    """Brings run folders to MLflow one after another, each when it is over.

    It has lower priority than the workers. What it could not bring is not lost: the folders
    have it, and ``fl-platform runs sync`` brings it later.
    """

    def __init__(self, home: Path, log: Path, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self._pipe, theirs = context.Pipe()
        inherited = self._pipe if method == "fork" else None
        self._process = context.Process(
            target=_deliver, args=(theirs, home, log, inherited), name="courier"
        )
        self._process.start()
        theirs.close()
        self._pending: deque[Path] = deque()
        self._on_way: Path | None = None
        self._in_a_row = 0
        self.failed: dict[Path, str] = {}

    @property
    def given_up(self) -> bool:
        """Whether the store failed so often that no more is tried."""
        return self._in_a_row >= GIVE_UP or not self._process.is_alive()

    @property
    def pending(self) -> int:
        """Folders that are not brought yet."""
        return len(self._pending) + (self._on_way is not None)

    def bring(self, folder: Path) -> None:
        """Bring the run in ``folder``; returns at once."""
        self._pending.append(folder)
        self.pump()

    def pump(self, timeout: float = 0.0) -> None:
        """Hear what came of the last folder and hand over the next."""
        with contextlib.suppress(EOFError, OSError):
            if self._on_way is not None and self._pipe.poll(timeout):
                fault = self._pipe.recv()
                self._in_a_row = self._in_a_row + 1 if fault else 0
                if fault:
                    self.failed[self._on_way] = fault
                self._on_way = None
            if self._on_way is None and self._pending and not self.given_up:
                self._on_way = self._pending.popleft()
                self._pipe.send(self._on_way)

    def close(self, patience: float) -> dict[Path, str]:
        """Bring what is pending, for ``patience`` seconds at most; what was not brought and why."""
        end = time.monotonic() + patience
        while self.pending and not self.given_up and time.monotonic() < end:
            self.pump(0.2)
        for folder in [self._on_way, *self._pending]:
            if folder is not None:
                self.failed.setdefault(folder, "the store did not take it in time")
        self._process.terminate()
        self._process.join(3.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        return self.failed


def _deliver(pipe: Connection, home: Path, log: Path, inherited: Connection | None) -> None:
    if inherited is not None:
        inherited.close()
    detach(log)
    with contextlib.suppress(OSError):
        os.nice(10)
    client = None
    with contextlib.suppress(EOFError, OSError):
        while (folder := pipe.recv()) is not None:
            fault = ""
            try:
                from fl_platform.tracking.mlflow import store
                from fl_platform.tracking.mlflow.exporter import Forwarder

                client = client or store.connect(home)
                Forwarder(RunFolder(folder), home, client).forward()
            except Exception as error:
                fault = reason(error)
            pipe.send(fault)
