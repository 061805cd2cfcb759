"""Graceful stop on SIGTERM, SIGINT or SIGHUP: between two clients or rounds, last round kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from fl_platform.core.notebook import in_notebook

PATIENCE = 3.0  # seconds for the end of a round after a request to stop


class Stopped(RuntimeError):  # noqa: N818 - an end of a run, named like its status
    """A requested stop of a run; the same command continues from the last commit."""


class Stopper:
    """Signal handler: the first SIGTERM, SIGINT or SIGHUP requests a stop, a second one exits.

    In a notebook the second one raises `Stopped`, since an exit would end the kernel.

    SIGHUP is sent when a terminal is closed; if it is ignored already (nohup), it stays ignored.

    A context manager that restores the earlier handlers at its end. Lightning's own handler ends
    the process with code 0 and without a checkpoint. An inner one, such as that of a run in a
    study, passes the request on to the outer one.

    Attributes:
        signal: the number of the received signal, or ``None``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.signal: int | None = None
        self._clock = clock
        self._asked = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the handlers, again if other code has replaced them."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def between_clients(self) -> None:
        """Raise `Stopped` if the rest of the round would exceed the time limit of a stop."""
        if self.signal is not None and self._clock() - self._asked > PATIENCE:
            raise Stopped(f"stopped between two clients by signal {self.signal}")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if in_notebook():  # an exit would end the kernel and lose all its variables
                raise Stopped(f"stopped by a second signal, {number}")
            os._exit(128 + number)
        self.signal, self._asked = number, self._clock()
        outer = getattr(self._before.get(number), "__self__", None)
        if isinstance(outer, Stopper):
            outer._ask(number, frame)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
