"""A child process that dies at the k-th step of what it does to files, for every k."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

STEPS = ("open", "write", "fsync", "replace", "close", "unlink", "ftruncate", "pwrite")


def die_at_every_step(work: Callable[[], None]) -> Iterator[int]:
    """Run ``work`` in forked children that die before step 0, 1, 2 … until one survives.

    A step is a call of one of ``STEPS``; a ``write`` that is died in has written half its bytes.
    Yields after each death (the caller looks at what is left), not after the survivor.
    """
    step = 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                _arm(step)
                work()
            except BaseException:
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return
        if code != 9:
            raise AssertionError(f"step {step}: the child failed of itself, exit code {code}")
        yield step
        step += 1


def _arm(fatal: int) -> None:
    count = 0

    def wrap(name: str) -> Callable[..., object]:
        original = getattr(os, name)

        def stepped(*args: object, **kwargs: object) -> object:
            nonlocal count
            if count == fatal:
                if name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                os._exit(9)
            count += 1
            return original(*args, **kwargs)

        return stepped

    for name in STEPS:
        setattr(os, name, wrap(name))
