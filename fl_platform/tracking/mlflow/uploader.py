"""The forwarder while a run is alive: a thread that training never waits for."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from fl_platform.core.text import reason
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.exporter import ForwardBusy, Forwarder
from fl_platform.tracking.run_folder import RunFolder

log = logging.getLogger(__name__)


class Courier:
    """Forwards a run's journal at most once in ``interval`` seconds, and once at the end.

    Args:
        patience: seconds before MLflow is imported at all, because the import competes with
            training for the interpreter; shorter runs are brought as a whole when they end.
        interval: seconds between calls; doubled after each failure, up to a minute.
    """

    def __init__(
        self,
        folder: RunFolder,
        home: Path | str,
        *,
        patience: float = 10.0,
        interval: float = 1.0,
    ) -> None:
        self._folder, self._home = folder, home
        self._patience, self._interval = patience, interval
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._abandoned = threading.Event()
        self._complete = False
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-courier", daemon=True)

    def start(self) -> Courier:
        """Begin; returns at once."""
        self._thread.start()
        return self

    def close(self, drain: float = 5.0, opening: float = 30.0) -> bool:
        """Bring the rest; True where the store now has everything.

        Args:
            drain: seconds at most for the calls that remain, server or not.
            opening: seconds at most until a local store is imported, made and opened; with 0 a
                store that was not opened yet is left alone.
        """
        if not opening:
            self._abandoned.set()
            self._fault = "the run was stopped"
        self._stop.set()
        self._connected.wait(opening)
        self._thread.join(drain)
        if not self._complete:
            log.warning(
                "MLflow has not got all of this run (%s). Nothing is lost: `fl-platform runs sync`"
                " brings it from %s.",
                self._fault or "it did not answer in time",
                self._folder.path,
            )
        return self._complete

    def _work(self) -> None:
        self._stop.wait(self._patience)
        wait = self._interval
        forwarder: Forwarder | None = None
        patience, tries = 50, 2
        while True:
            last = self._stop.is_set()
            if forwarder is None and self._abandoned.is_set():
                self._connected.set()
                return
            try:
                if forwarder is None:
                    client = store.connect(self._home)
                    forwarder = Forwarder(self._folder, self._home, client)
                self._connected.set()
                forwarder.forward()
                wait, self._fault, self._complete = self._interval, None, last
            except ForwardBusy as busy:
                self._fault = str(busy)
                if last and patience > 0:  # somebody brings this run: see that nothing is left
                    patience -= 1
                    time.sleep(0.2)
                    continue
            except Exception as error:  # whatever a server or a disk comes up with
                self._fault = reason(error)
                log.debug("Forwarding failed", exc_info=True)
                wait = min(2 * wait, 60.0)
                if last and forwarder is not None and tries > 1:  # a connection that went stale
                    tries -= 1
                    continue
            self._connected.set()
            if last:
                return
            self._stop.wait(wait)
