"""Run one part of a benchmark in a process of its own, so that its failure is its own too."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

GRACE = 10.0  # seconds that a part may take to leave once it was asked to
SILENT = object()  # the part's process is gone


def apart(part: Callable[[], Any], limit: float) -> Any:
    """What ``part`` returns, or a line that says how it failed.

    The process is forked, so all imports are there; CUDA must not have been touched before. A
    part that lasts longer than ``limit`` seconds gets a SIGTERM, on which a run stops with what
    it has, and is killed a little later.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(part, theirs))
    process.start()
    theirs.close()
    answer = _heard(ours, limit)
    for end in (process.terminate, process.kill):
        if answer is None:
            end()
            answer = _heard(ours, GRACE)
    process.join(GRACE)
    process.kill()
    process.join()
    return answer if answer is not SILENT else f"failed: ended with exit code {process.exitcode}"


def _heard(pipe: Connection, wait: float) -> Any:
    """What came within ``wait`` seconds: ``None`` if nothing, `SILENT` if nothing can any more."""
    try:
        return pipe.recv() if pipe.poll(wait) else None
    except EOFError:
        return SILENT


def _tell(part: Callable[[], Any], pipe: Connection) -> None:
    try:
        answer = part()
    except Exception as error:  # such as out of memory: the other parts still count
        traceback.print_exc()
        answer = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    pipe.send(answer)
