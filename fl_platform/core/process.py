"""Leaving on SIGTERM, SIGINT or SIGHUP: between two clients or rounds, with the last round kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PATIENCE = 3.0  # seconds that a round may still take to end once a stop was asked for


class Stopped(RuntimeError):  # noqa: N818 - a way to end, named like its status
    """The run was asked to stop and left; it continues from its last commit."""


class Stopper:
    """Turns the first SIGTERM, SIGINT or SIGHUP into a request and a second one into an exit.

    SIGHUP comes when a terminal is closed; where it is ignored already (nohup), it stays so.

    Use as a context; the handlers before it come back afterwards. Lightning's own handler would
    end the process with code 0 and without a checkpoint. One inside another, a run's inside its
    study's, passes the request on.

    Attributes:
        signal: the number of the signal that asked, or ``None``.
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
        """Take the signals; again after whoever else may have taken them."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def between_clients(self) -> None:
        """Raise `Stopped` where the round would last longer than one who asked should wait."""
        if self.signal is not None and self._clock() - self._asked > PATIENCE:
            raise Stopped(f"stopped between two clients by signal {self.signal}")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal, self._asked = number, self._clock()
        outer = getattr(self._before.get(number), "__self__", None)
        if isinstance(outer, Stopper):
            outer._ask(number, frame)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
