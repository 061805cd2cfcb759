"""Exporters: destinations of copies of run folders, and the copying itself.

A run folder is the source; MLflow, a CSV file or another service has a copy. An exporter is a
class with four methods, and a fifth if it stores models. ``runtime.tracking`` names it:
``mlflow``, or ``package.Name``.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fl_platform.core.outside import open_file
from fl_platform.tracking.journal import Record, records
from fl_platform.tracking.lock import alone
from fl_platform.tracking.records import Forwarded, RecordError, read_record, skip
from fl_platform.tracking.run_folder import RunFolder, all_runs, write_json

JOURNAL = "journal"  # the value of runtime.tracking for no copy
EXPORTERS = {"mlflow": "fl_platform.tracking.mlflow.mlflow_exporter.MlflowExporter"}
BATCH = 500  # maximum values per call, except for a single record with more

log = logging.getLogger(__name__)


class Exporter(Protocol):
    """A destination of copies of runs, constructed by ``Class(home)``.

    A method may raise any exception: the call is repeated later, by this process or another, so
    each method must allow repetition.

    Attributes:
        address: the destination, without passwords; a copy at another address does not count.
    """

    address: str

    def find_or_create(
        self, described: Mapping[str, Any], remembered: str, parent: Callable[[], str]
    ) -> str:
        """The id of the copy of the run in ``described`` (the content of ``run.json``).

        Args:
            remembered: the id that an earlier call returned, or empty; the copy may be deleted.
            parent: returns the id of the copy of the parent run, or empty if there is none.
        """

    def log_batch(self, run: str, batch: Sequence[Record], *, repeated: bool) -> None:
        """Store journal records of the kinds metrics, params, tags, dataset, alarm and status.

        Args:
            repeated: some records may be stored already, possibly with another time.
        """

    def artifact(self, run: str, file: Path, folder: str) -> None:
        """Store ``file`` below ``folder``."""

    def model(self, run: str, files: Path, record: Record) -> None:
        """Store the MLflow model in the folder ``files``; optional: left out without this method.

        Args:
            record: its values, the name under which it is registered (or empty),
                dataset and digest.
        """

    def status(self, run: str, status: str, at: float) -> None:
        """Store the status: RUNNING, SCHEDULED, FINISHED, KILLED, FAILED or DIVERGED."""


class UploadBusy(RuntimeError):  # noqa: N818 - a state, not a fault
    """Another process is copying this run."""


def load_exporter(name: str, home: Path | str) -> Exporter:
    """The exporter that ``runtime.tracking`` names; imports its module."""
    module, _, attribute = EXPORTERS.get(name, name).rpartition(".")
    made: Exporter = getattr(importlib.import_module(module), attribute)(home)
    return made


class Export:
    """Copy of run folders of ``home`` to one exporter; a repeated call copies nothing twice.

    A cursor file in the run folder contains the copied length of the journal. If it is not valid
    (another address, a deleted copy, a journal whose tail was lost), all records are sent again
    with ``repeated=True``.

    Args:
        progress: called after each batch that the exporter accepted.
    """

    def __init__(
        self,
        home: Path | str,
        name: str = "mlflow",
        exporter: Exporter | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        self.home, self.name = home, name
        self.exporter = exporter or load_exporter(name, home)
        self._progress = progress
        self._copies: dict[Path, str] = {}  # run folder -> id of its copy
        self._parents: dict[str, str] = {}  # run id -> id of its copy

    def upload(self, folder: RunFolder) -> int:
        """Copy the pending records of ``folder``; their number.

        Raises:
            UploadBusy: another process is copying it.
        """
        try:
            with alone(folder.forward_lock, wait=False):
                return self._upload(folder)
        except BlockingIOError:
            raise UploadBusy(f"Another process is copying {folder.path}.") from None

    def _upload(self, folder: RunFolder) -> int:
        cursor = _cursor(folder, self.name)
        tail = _tail(folder.journal, cursor.get("offset", 0))
        fits = cursor.get("store") == self.exporter.address and cursor.get("tail") == tail
        run = self._copies.get(folder.path)
        if run is None or not fits:
            run = self._find_or_create(folder, cursor.get("mlflow_run_id", "") if fits else "")
        fits = fits and run == cursor["mlflow_run_id"]
        offset = cursor["offset"] if fits else 0
        batches = _batches(folder, offset)
        return sum(self._send(folder, run, b, end, repeated=not fits) for b, end in batches)

    def _find_or_create(self, folder: RunFolder, remembered: str) -> str:
        described = folder.describe()
        if described is None:
            raise RuntimeError(f"Expected a run in {folder.path}, got no run.json.")
        parent = described.get("parent_run_id") or ""
        found = self.exporter.find_or_create(described, remembered, lambda: self._parent(parent))
        self._copies[folder.path] = found
        return found

    def _parent(self, run_id: str) -> str:
        """The id of the copy of the parent, which is created first if its folder exists here."""
        if run_id and run_id not in self._parents:
            for folder in all_runs(self.home):
                if (folder.describe() or {}).get("run_id") == run_id:
                    self.upload(folder)
                    self._parents[run_id] = self._copies[folder.path]
        return self._parents.get(run_id, "")

    def _send(
        self, folder: RunFolder, run: str, batch: list[Record], end: int, *, repeated: bool
    ) -> int:
        self.exporter.log_batch(run, batch, repeated=repeated)
        self._progress()  # files below may take longer than the uploader waits without progress
        for record in batch:
            if record["kind"] == "artifact":
                self._send_artifact(folder, run, record)
            elif record["kind"] == "model":
                self._send_model(folder, run, record)
        turns = [record for record in batch if record["kind"] == "status"]
        if turns:
            self.exporter.status(run, turns[-1]["status"], turns[-1]["time"])
        cursor = {
            "store": self.exporter.address,
            "mlflow_run_id": run,
            "offset": end,
            "tail": _tail(folder.journal, end),
        }
        write_json(cursor_file(folder, self.name), cursor)
        self._progress()
        return len(batch)

    def _send_artifact(self, folder: RunFolder, run: str, record: Mapping[str, Any]) -> None:
        path = (folder.path / record["path"]).resolve()
        if not path.is_relative_to(folder.path.resolve()) or not path.is_file():
            log.warning("Expected an artifact inside the run folder, got %r.", record["path"])
            return
        self.exporter.artifact(run, path, record.get("folder") or "")

    def _send_model(self, folder: RunFolder, run: str, record: Record) -> None:
        files = folder.path / record["path"]
        inside = files.resolve().is_relative_to(folder.path.resolve()) and files.is_dir()
        if not inside or any(path.is_symlink() for path in (files, *files.rglob("*"))):
            log.warning("Expected a model inside the run folder, got %r.", record["path"])
        elif hasattr(self.exporter, "model"):
            self.exporter.model(run, files, record)


def cursor_file(folder: RunFolder, name: str) -> Path:
    """The file in ``folder`` with the length copied to the exporter called ``name``."""
    return folder.forwarded if name == "mlflow" else folder.path / f"forwarded.{name}.json"


def _cursor(folder: RunFolder, name: str) -> dict[str, Any]:
    """What the cursor file says; empty where it says nothing fit: all is then sent again."""
    try:
        return read_record(cursor_file(folder, name), Forwarded) or {}
    except RecordError as error:
        skip(error)
        return {}


def pending(folder: RunFolder, name: str = "mlflow", address: str = "") -> bool:
    """True if the journal has records that are not copied to the exporter ``name``.

    Args:
        address: copies at another address do not count; empty: any address.
    """
    if not folder.journal.exists():
        return False
    cursor = _cursor(folder, name)
    elsewhere = bool(address) and cursor.get("store") != address
    return elsewhere or folder.journal.stat().st_size > cursor.get("offset", 0)


def _batches(folder: RunFolder, offset: int) -> Iterator[tuple[list[Record], int]]:
    batch: list[Record] = []
    size = 0
    end = offset
    if not folder.journal.exists():
        return
    for record, end in records(folder.journal, offset):
        batch.append(record)
        size += len(record["values"]) if record["kind"] == "metrics" else 1
        if size > BATCH:
            yield batch, end
            batch, size = [], 0
    if batch:
        yield batch, end


def _tail(journal: Path, offset: int) -> str | None:
    """A digest of the journal's bytes before ``offset``, or None if it is shorter."""
    if not journal.exists() or journal.stat().st_size < offset:
        return None
    with os.fdopen(open_file(journal, os.O_RDONLY), "rb") as stream:
        stream.seek(max(0, offset - 256))
        return hashlib.sha256(stream.read(min(256, offset))).hexdigest()[:16]
