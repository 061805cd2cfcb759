"""One process of the pool: takes a cell, runs it, says what came of it, takes the next."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fl_platform.config import Config
from fl_platform.config.targets import admit, admitted
from fl_platform.core.text import reason

_PDEATHSIG = 1  # prctl(2)

Outcome = tuple[str, Any, str]


def run_cell(config: Config, home: Path, parent_run_id: str) -> Outcome:
    """``("over", Result, "")``, ``("elsewhere", reason, "")`` or ``("failed", reason, traceback)``.

    The run writes its journal alone; the grid's uploader copies all journals.
    """
    try:
        from fl_platform.run.runner import run

        runtime = replace(config.runtime, tracking="journal", progress="none")
        return "over", run(replace(config, runtime=runtime), home, parent_run_id=parent_run_id), ""
    except Exception as error:
        if any(cls.__name__ == "RunOwned" for cls in type(error).__mro__):
            return "elsewhere", reason(error), ""
        why = reason(Exception(" ".join(str(error).split())), length=800)
        return "failed", f"{type(error).__name__}: {why}", traceback.format_exc()


def serve(
    pipe: Connection,
    home: Path,
    parent_run_id: str,
    log: Path,
    environment: Mapping[str, str],
    inherited: Sequence[Connection],
    plugins: Sequence[str],
) -> None:
    """Run the cells that come through ``pipe`` until it closes.

    Args:
        log: what libraries print goes there, not between the lines of the table.
        environment: of this worker, such as the GPU that it may see.
        inherited: the parent's own ends of pipes, open here after a fork.
        plugins: what the parent admitted, unknown to a process that is no fork.
    """
    for connection in inherited:
        connection.close()
    os.environ.update(environment)
    detach(log)
    for plugin in sorted(set(plugins) - set(admitted())):
        admit(plugin, home)
    with contextlib.suppress(EOFError, OSError):
        while (config := pipe.recv()) is not None:
            pipe.send(run_cell(config, home, parent_run_id))


def detach(log: Path, parent: int | None = None) -> None:
    """Leave the terminal to the parent, and leave when the parent does.

    Ctrl-C then reaches the parent alone, which passes one SIGTERM on: a second signal would make
    a run leave without a checkpoint.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _die_with_parent()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:  # it was gone before this line
        os._exit(0)
