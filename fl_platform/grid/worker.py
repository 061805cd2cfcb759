"""A worker process of the local executor: receive a configuration, run it, send the result."""

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
from fl_platform.core.outside import open_file
from fl_platform.core.text import reason

_PDEATHSIG = 1  # prctl(2)

RunMessage = tuple[str, Any, str]  # state, result or reason, traceback


def run_one(
    config: Config, home: Path, parent_run_id: str, callbacks: Sequence[Any] = ()
) -> RunMessage:
    """Run one configuration.

    Only the journal is written here; the grid's uploader exports it.

    Args:
        callbacks: further Lightning callbacks of the run.

    Returns:
        ``("ended", Result, "")``, ``("running in another process", reason, "")`` or
        ``("failed", reason, traceback)``.
    """
    try:
        from fl_platform.run.runner import run

        runtime = replace(config.runtime, tracking="journal", progress="none")
        config = replace(config, runtime=runtime)
        return "ended", run(config, home, parent_run_id=parent_run_id, callbacks=callbacks), ""
    except Exception as error:
        if any(cls.__name__ == "RunOwned" for cls in type(error).__mro__):
            return "running in another process", reason(error), ""
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
    """Run the configurations received from ``pipe`` until it closes.

    Args:
        log: file for the standard output and error of this process.
        environment: variables of this worker, such as ``CUDA_VISIBLE_DEVICES``.
        inherited: the parent's ends of pipes, to be closed after a fork.
        plugins: plug-ins that the parent has admitted; a spawned process admits them again.
    """
    for connection in inherited:
        connection.close()
    os.environ.update(environment)
    detach(log)
    for plugin in sorted(set(plugins) - set(admitted())):
        admit(plugin, home)
    with contextlib.suppress(EOFError, OSError):
        while (config := pipe.recv()) is not None:
            pipe.send(run_one(config, home, parent_run_id))


def detach(log: Path, parent: int | None = None) -> None:
    """Move to an own process group, write to ``log``, and end when the parent process ends.

    Ctrl-C then reaches the parent only, which sends one SIGTERM: a second signal would end a run
    without a checkpoint.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _end_with_parent()
    descriptor = open_file(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:  # the parent ended before this line
        os._exit(0)
