"""Optuna's journal file and gRPC proxy with the heartbeats that only its databases have."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import (
    GrpcStorageProxy,
    JournalStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from fl_platform.core.outside import open_file
from fl_platform.tracking.mlflow.store import StoreError

HEARTBEAT = 10  # seconds between two heartbeats of a running trial
GRACE = 60  # seconds without a heartbeat until another worker requeues the trial
RETRIES = 3
GRPC_PORT = 13000  # Optuna's default
GRPC_WAIT = 10.0  # seconds to wait for the first answer of a gRPC server
LAST_SEEN = "fl_platform:heartbeat"  # system attribute of a trial: seconds since 1970, UTC


class Retry(RetryHeartbeatStaleTrialCallback):
    """Optuna's retry of a stale trial, at most `RETRIES` times; the new trial has no heartbeat."""

    def __init__(self) -> None:
        super().__init__(max_retry=RETRIES)

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Queue ``trial`` again."""
        trial.system_attrs = without_heartbeat(trial)
        super().__call__(study, trial)


def without_heartbeat(trial: FrozenTrial) -> dict[str, Any]:
    """System attributes of a trial that its successor inherits."""
    return {key: value for key, value in trial.system_attrs.items() if key != LAST_SEEN}


class AttributeHeartbeat(BaseHeartbeat):
    """Heartbeats as a system attribute of the trial.

    The time is that of the worker's clock: the clocks of machines that share a study must agree
    to a few seconds.
    """

    interval = HEARTBEAT
    grace_period = GRACE

    def record_heartbeat(self, trial_id: int) -> None:
        """Store the time. A failure is left to the next call of the worker itself."""
        with contextlib.suppress(Exception):
            self.set_trial_system_attr(trial_id, LAST_SEEN, time.time())  # type: ignore[attr-defined]

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        states = (TrialState.RUNNING,)
        running = self.get_all_trials(study_id, deepcopy=False, states=states)  # type: ignore[attr-defined]
        return [t._trial_id for t in running if time.time() - last_seen(t) > self.grace_period]

    def get_heartbeat_interval(self) -> int:
        """Seconds between two heartbeats."""
        return self.interval

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        """Callback that queues a stale trial again."""
        return Retry()


def last_seen(trial: FrozenTrial) -> float:
    """Time of the trial's last heartbeat, or of its start, in seconds since 1970."""
    start = trial.datetime_start
    return float(trial.system_attrs.get(LAST_SEEN, start.timestamp() if start else 0.0))


class JournalLock(JournalFileSymlinkLock):
    """Optuna's lock of a journal file; its owner finds no incomplete last line.

    A process that is killed while it writes leaves one. Optuna appends to it, which makes both
    lines unreadable. Only the owner of the lock knows that no process is writing the line now.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.file = file

    def acquire(self) -> bool:
        """Wait for the lock, then remove an incomplete last line."""
        acquired = super().acquire()
        try:
            if not _ends_a_line(self.file):
                with os.fdopen(open_file(self.file, os.O_RDWR), "r+b") as opened:
                    opened.truncate(opened.read().rfind(b"\n") + 1)
        except BaseException:
            self.release()
            raise
        return acquired


class JournalFile(JournalFileBackend):
    """Optuna's journal file, private, with errors of one kind."""

    def __init__(self, file: Path) -> None:
        os.close(open_file(file, os.O_RDWR | os.O_CREAT))
        self.file = file
        super().__init__(str(file), JournalLock(file))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append the records durably."""
        with _journal_errors(self.file):
            super().append_logs(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Records from a number on."""
        with _journal_errors(self.file):
            if self.file.stat().st_size < self._log_number_offset.get(log_number_from, 0):
                raise ValueError("records that were read are missing")
            yield from super().read_logs(log_number_from)


def _ends_a_line(file: Path) -> bool:
    with os.fdopen(open_file(file, os.O_RDONLY), "rb") as opened:
        if not opened.seek(0, os.SEEK_END):
            return True
        opened.seek(-1, os.SEEK_END)
        return opened.read() == b"\n"


@contextlib.contextmanager
def _journal_errors(file: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise StorageInternalError(f"{error.strerror or error}: {file}") from None
    except ValueError as error:
        raise StorageInternalError(f"{file} is no whole journal of Optuna: {error}") from None


class JournalStudies(AttributeHeartbeat, JournalStorage):
    """Studies in a journal file."""

    def __init__(self, file: Path) -> None:
        super().__init__(JournalFile(file))
        self.file = file


class GrpcStudies(AttributeHeartbeat, GrpcStorageProxy):
    """Studies behind Optuna's gRPC proxy server."""


def open_journal(url: str) -> JournalStudies:
    """Open the journal file of ``journal:///absolute/path``; create it if missing.

    Raises:
        StoreError: the path is not absolute.
        OSError: the folder is missing, or the file cannot be written.
        StorageInternalError: the file is no journal.
    """
    path = url.partition("://")[2]
    if not path.startswith("/") or path.endswith("/"):
        raise StoreError(f"--storage: expected journal:///absolute/path/of/a/file, got {url}.")
    # Four slashes, as in sqlite:////file, name the same file; pathlib would keep two of them.
    return JournalStudies(Path("/" + path.lstrip("/")))


def open_grpc(url: str) -> GrpcStudies:
    """Connect to the proxy server of ``grpc://host:port``.

    Raises:
        StoreError: grpcio is not installed, the address is invalid, or no server answers.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or GRPC_PORT
    except ValueError:
        host, port = None, 0
    if host is None or parts.path.strip("/") or parts.username:
        raise StoreError(f"--storage: expected grpc://HOST:PORT, got {url}.")
    if importlib.util.find_spec("grpc") is None:
        raise StoreError(
            "--storage: grpc:// needs a package that is not installed (grpcio);"
            " pip install 'fl_platform[grpc]'."
        )
    storage = GrpcStudies(host=f"[{host}]" if ":" in host else host, port=port)
    try:
        storage.wait_server_ready(GRPC_WAIT)
    except ConnectionError:
        storage.close()
        raise StoreError(
            f"Cannot open the studies in {url}: no server answers within {GRPC_WAIT:.0f} s. Start"
            " Optuna's proxy server, see docs/tuning.md."
        ) from None
    return storage
