"""Run one part of a benchmark in its own process session and end all of its processes.

A part yields one record per measurement. `apart` passes every record on at once, so records of a
part that fails, hangs or is killed later are kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

Record = dict[str, Any]
Part = Callable[[], Iterable[Record]]

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
TICK = 0.2
_PDEATHSIG = 1  # prctl(2)
_END = "end"


def apart(
    part: Part, limit: float, heard: Callable[[Record], None], *, grace: float = GRACE
) -> str:
    """Run ``part`` and pass its records to ``heard``; returns the error, or an empty text.

    The process is forked, so all modules are imported; CUDA must not be initialised before. After
    ``limit`` seconds the part receives SIGTERM, on which a run stops with its results; ``grace``
    seconds later every process of its session is killed, other process groups included. Processes
    that remain after the end of a part are killed too.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part, theirs))
    end, why = time.monotonic() + limit, ""
    # An exception of a signal's handler is ignored inside the hooks of a fork, so it waits.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        process.start()
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        answer = _listen(ours, process, end, heard)
        if answer is None:
            why = f"stopped after its limit of {limit:.0f} s"
            process.terminate()
            answer = _listen(ours, process, time.monotonic() + grace, heard)
        return " ".join(line for line in (why, answer if answer != _END else "") if line)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if process.pid is not None:
            kill_session(process.pid)
            process.join(grace)  # bounded: a process that hangs in a driver cannot be waited for
        ours.close()


def kill_session(session: int, patience: float = 5.0) -> list[int]:
    """Kill the processes of ``session`` that remain after ``patience`` seconds.

    Its leader must not have been waited for, so that the number cannot have been given away.
    """
    end = time.monotonic() + patience
    while (left := members(session)) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return left


def members(session: int) -> list[int]:
    """Running processes of a session, without zombies."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let Linux end this process when its parent ends, for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, number)


def _listen(
    pipe: Connection, process: BaseProcess, end: float, heard: Callable[[Record], None]
) -> str | None:
    """Pass records on until the part ends; returns its end, or ``None`` at the time limit.

    Neither an end of file nor the process's sentinel tells that it is gone, since processes that
    it started hold both open.
    """
    while (left := end - time.monotonic()) > 0:
        gone = _exit_code(process)
        try:
            while pipe.poll(0 if gone is not None else min(TICK, left)):
                message = pipe.recv()
                if isinstance(message, str):
                    return message
                heard(message)
        except EOFError:
            gone = _exit_code(process)
            time.sleep(TICK / 10)
        if gone is not None:
            return f"failed: ended with exit code {gone}"
    return None


def _exit_code(process: BaseProcess) -> int | None:
    """Exit status as in `subprocess`, without reaping: the session number must stay in use."""
    assert process.pid is not None
    told = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if told is None:
        return None
    return told.si_status if told.si_code == os.CLD_EXITED else -told.si_status


def _work(part: Part, pipe: Connection) -> None:
    os.setsid()
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    answer = _END
    try:
        for record in part():
            pipe.send(record)
    except Exception as error:  # such as out of memory: the other parts still count
        traceback.print_exc()
        answer = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    pipe.send(answer)
