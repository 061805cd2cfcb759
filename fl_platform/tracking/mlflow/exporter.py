"""A run's journal, brought to MLflow: in batches, repeatable, never in the way of training."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fl_platform.core.text import printable
from fl_platform.tracking.journal import Record, records
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow import ui_view as page
from fl_platform.tracking.run_folder import RunFolder, all_runs, read_json, write_json

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking.client import MlflowClient

RUN_TAG = "fl_run_id"  # which run folder an MLflow run is the copy of
_METRICS, _PARAMS, _TAGS = 1000, 100, 100  # MLflow's limits for one call
_STATUS = {"DIVERGED": "FAILED"}  # ours -> MLflow's, which has no word for it

_PARENTS: WeakKeyDictionary[MlflowClient, dict[str, str]] = WeakKeyDictionary()

log = logging.getLogger(__name__)


def pending(folder: RunFolder) -> bool:
    """Whether the journal has records that were never brought anywhere."""
    brought = (read_json(folder.forwarded) or {}).get("offset", 0)
    return folder.journal.exists() and folder.journal.stat().st_size > brought


class ForwardBusy(RuntimeError):  # noqa: N818 - a state, not a fault
    """Another process is forwarding this run at the moment."""


class Forwarder:
    """Brings the records of ``folder`` that the store has not seen yet.

    The MLflow run is found by its tag, so a resumed run goes on in the same one. A cursor file
    remembers how far the journal was brought; where it does not fit (another store, a run that
    was deleted, a journal whose tail was lost) all is compared by (key, step) with what the store
    holds. Repeating a call brings nothing twice.
    """

    def __init__(self, folder: RunFolder, home: Path | str, client: MlflowClient) -> None:
        self.folder = folder
        self.home = home
        self.client = client
        self.uri = store.tracking_uri(home)
        self._run: Run | None = None
        self._known: dict[str, set[int]] | None = None  # filled where duplicates are possible

    def forward(self) -> int:
        """Bring everything pending; returns the number of records.

        Raises:
            ForwardBusy: somebody else is at it; their work is as good as ours.
        """
        with _turn(self.folder.forward_lock):
            offset = self._find_run()
            return sum(self._bring(batch, end) for batch, end in self._batches(offset))

    def _find_run(self) -> int:
        """Find or make the MLflow run; returns where in the journal to go on."""
        cursor = read_json(self.folder.forwarded) or {}
        fits = cursor.get("store") == store.safe_uri(self.uri) and cursor.get("tail") == _tail(
            self.folder.journal, cursor.get("offset", 0)
        )
        if self._run is not None and fits:
            return cursor["offset"]
        self._run = self._existing(cursor.get("mlflow_run_id", "") if fits else "")
        if self._run is None:
            self._run = self._create()
            self._known = {}
            return 0
        if fits and self._run.info.run_id == cursor["mlflow_run_id"]:
            return cursor["offset"]
        run_id = self._run.info.run_id
        history = self.client.get_metric_history
        self._known = {
            key: {point.step for point in history(run_id, key)} for key in self._run.data.metrics
        }
        return 0

    def _existing(self, mlflow_run_id: str) -> Run | None:
        described = self.folder.describe()
        if described is None:
            raise RuntimeError(f"Expected a run in {self.folder.path}, got no run.json.")
        if mlflow_run_id:
            from mlflow.exceptions import MlflowException

            try:
                run = self.client.get_run(mlflow_run_id)
                if run.info.lifecycle_stage == "active":
                    return run
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return find_run(self.client, self.uri, described)

    def _create(self) -> Run:
        described = self.folder.describe() or {}
        tags = {
            RUN_TAG: described["run_id"],
            "config_hash": described["config_hash"],
            "mlflow.note.content": page.run_note(self.folder.path.name),
        }
        parent = described.get("parent_run_id")
        if parent:
            tags["parent_run_id"] = parent
            parent_run = self._parent(parent)
            if parent_run:
                tags["mlflow.parentRunId"] = parent_run
        return self.client.create_run(
            store.experiment_id(self.client, self.uri, described["experiment"]),
            start_time=int(described["created"] * 1000),
            tags=tags,
            run_name=printable(described["name"]),
        )

    def _parent(self, run_id: str) -> str | None:
        """The MLflow id of the parent, which is brought first where its folder is here.

        Remembered for each client: a thousand cells would otherwise read a thousand folders each.
        """
        known = _PARENTS.setdefault(self.client, {})
        if run_id not in known:
            found = self._bring_parent(run_id)
            if found is None:
                return None
            known[run_id] = found
        return known[run_id]

    def _bring_parent(self, run_id: str) -> str | None:
        for folder in all_runs(self.home):
            described = folder.describe() or {}
            if described.get("run_id") == run_id:
                try:
                    Forwarder(folder, self.home, self.client).forward()
                except ForwardBusy:
                    if find_run(self.client, self.uri, described) is None:
                        raise  # a sibling is making it: come again
                run = find_run(self.client, self.uri, described)
                return None if run is None else run.info.run_id
        return None

    def _batches(self, offset: int) -> Iterator[tuple[list[Record], int]]:
        batch: list[Record] = []
        size = 0
        end = offset
        if not self.folder.journal.exists():
            return
        for record, end in records(self.folder.journal, offset):
            batch.append(record)
            size += len(record["values"]) if record["kind"] == "metrics" else 1
            if size > _METRICS // 2:
                yield batch, end
                batch, size = [], 0
        if batch:
            yield batch, end

    def _bring(self, batch: list[Record], end: int) -> int:
        from mlflow.entities import Metric, Param, RunTag

        assert self._run is not None
        run_id = self._run.info.run_id
        points = sorted(self._points(batch), key=lambda point: point[0] != page.ACCURACY)
        metrics = [Metric(*point) for point in points]  # MLflow preselects what it gets first
        params = [Param(k, v) for k, v in self._new_params(batch).items()]
        tags = [RunTag(k, v) for k, v in _tags(batch).items()]
        while metrics or params or tags:
            self.client.log_batch(run_id, metrics[:_METRICS], params[:_PARAMS], tags[:_TAGS])
            self._run.data.params.update({param.key: param.value for param in params[:_PARAMS]})
            metrics, params, tags = metrics[_METRICS:], params[_PARAMS:], tags[_TAGS:]
        if self._known is not None:  # only now: of a call that failed nobody knows what arrived
            for key, _, _, step in points:
                self._known.setdefault(key, set()).add(step)
        self._name_dataset(run_id, _tags(batch))
        for record in batch:
            if record["kind"] == "artifact":
                self._upload(run_id, record)
        self._set_status(run_id, batch)
        cursor = {
            "store": store.safe_uri(self.uri),
            "mlflow_run_id": run_id,
            "offset": end,
            "tail": _tail(self.folder.journal, end),
        }
        write_json(self.folder.forwarded, cursor)
        return len(batch)

    def _points(self, batch: list[Record]) -> Iterator[tuple[str, float, int, int]]:
        """What the store does not have yet: key, value, milliseconds and step."""
        taken: set[tuple[str, int]] = set()
        for record in batch:
            if record["kind"] != "metrics":
                continue
            for given, value in record["values"].items():
                key, step = valid_key(given), page.shown_step(given, record["step"])
                if self._known is not None:
                    if (key, step) in taken or step in self._known.get(key, ()):
                        continue
                    taken.add((key, step))
                # MLflow would store an infinity as 1.8e308 and spoil every mean and axis
                number = value if math.isfinite(value) else math.nan
                yield key, number, int(record["time"] * 1000), step

    def _new_params(self, batch: list[Record]) -> dict[str, str]:
        """Params that the run does not have yet: MLflow never lets one change."""
        assert self._run is not None
        fresh: dict[str, str] = {}
        for record in batch:
            if record["kind"] == "params":
                for key, value in record["values"].items():
                    key, text = valid_key(key), str(value)[:6000]
                    known = self._run.data.params.get(key, fresh.get(key))
                    if known is None:
                        fresh[key] = text
                    elif known != text:
                        log.warning("Parameter %s is %s in MLflow, now %s.", key, known, text)
        return fresh

    def _name_dataset(self, run_id: str, tags: Mapping[str, str]) -> None:
        if not tags.get("task") or not tags.get("data_digest"):
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(tags["task"], tags["data_digest"][:16], "fl_platform", "{}")
        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run_id, [DatasetInput(dataset, context)])

    def _upload(self, run_id: str, record: Mapping[str, Any]) -> None:
        path = (self.folder.path / record["path"]).resolve()
        if not path.is_relative_to(self.folder.path.resolve()) or not path.is_file():
            log.warning("Expected an artifact inside the run folder, got %r.", record["path"])
            return
        self.client.log_artifact(run_id, str(path), record.get("folder") or None)

    def _set_status(self, run_id: str, batch: list[Record]) -> None:
        turns = [record for record in batch if record["kind"] == "status"]
        if not turns:
            return
        status = turns[-1]["status"]
        if status == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        else:
            ended = int(turns[-1]["time"] * 1000)
            self.client.set_terminated(run_id, _STATUS.get(status, status), ended)


def find_run(client: MlflowClient, uri: str, described: Mapping[str, Any]) -> Run | None:
    """The MLflow run that copies the run ``described``, or None."""
    experiment = store.experiment_id(client, uri, described["experiment"])
    found = client.search_runs(
        [experiment], f"tags.{RUN_TAG} = '{described['run_id']}'", max_results=1
    )
    return found[0] if found else None


def valid_key(key: str) -> str:
    """``key`` with the characters that MLflow refuses replaced."""
    return re.sub(r"[^\w\-. /:]", "_", key)[:250]


def _tags(batch: list[Record]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for record in batch:
        if record["kind"] == "tags":
            tags |= {valid_key(k): str(v)[:5000] for k, v in record["values"].items()}
            tags |= page.run_tags(tags)
        elif record["kind"] == "status":
            tags["status"] = record["status"]
            if record.get("reason"):
                tags["reason"] = str(record["reason"])[:5000]
        elif record["kind"] == "alarm":
            tags["alarm"] = record["message"][:5000]
    return tags


def _tail(journal: Path, offset: int) -> str | None:
    """A mark of the journal's bytes before ``offset``, or None where it is shorter."""
    if not journal.exists() or journal.stat().st_size < offset:
        return None
    with journal.open("rb") as stream:
        stream.seek(max(0, offset - 256))
        return hashlib.sha256(stream.read(min(256, offset))).hexdigest()[:16]


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    with lock.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ForwardBusy(f"Another process is forwarding {lock.parent}.") from error
        yield
