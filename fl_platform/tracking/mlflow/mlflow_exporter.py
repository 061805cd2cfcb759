"""The exporter to MLflow: names, limits and repeats of its calls."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_platform.core.text import printable
from fl_platform.tracking.journal import Record
from fl_platform.tracking.mlflow import logged_model, store
from fl_platform.tracking.mlflow import ui_view as page
from fl_platform.tracking.mlflow.names import clean, valid_key

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run
    from mlflow.tracking.client import MlflowClient

RUN_TAG = "fl_run_id"  # the run folder of which an MLflow run is the copy
_METRICS, _PARAMS, _TAGS = 1000, 100, 100  # MLflow's limits for one call
_STATUS = {"DIVERGED": "FAILED"}  # our status -> MLflow's, which has no equivalent

log = logging.getLogger(__name__)


@dataclass
class _Copy:
    """Known content of a run in the store: its parameters and, once read, its metrics' steps."""

    params: dict[str, str]
    steps: dict[str, set[int]] | None = None


class MlflowExporter:
    """Exporter to the MLflow store of ``home``; see `fl_platform.tracking.exporter.Exporter`.

    The MLflow run is found by its tag, so a resumed run continues in the same one.

    Raises:
        StoreError: the store cannot be opened.
    """

    def __init__(self, home: Path | str) -> None:
        self.client: MlflowClient = store.connect(home)
        self.uri = store.tracking_uri(home)
        self.address = store.safe_uri(self.uri)
        self._copies: dict[str, _Copy] = {}

    def find_or_create(
        self, described: Mapping[str, Any], remembered: str, parent: Callable[[], str]
    ) -> str:
        """The MLflow run of a run folder; a deleted one is created again."""
        run = self._active(remembered) if remembered else None
        run = run or find_run(self.client, self.uri, described)
        run = run or self._create(described, parent())
        self._copies[run.info.run_id] = _Copy(dict(run.data.params))
        return str(run.info.run_id)

    def _active(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _create(self, described: Mapping[str, Any], parent: str) -> Run:
        tags = {
            RUN_TAG: described["run_id"],
            "config_hash": described["config_hash"],
            "mlflow.note.content": page.run_note(
                described["config_hash"][:16], trains=bool(described["conditions"])
            ),
        }
        if described.get("parent_run_id"):
            tags["parent_run_id"] = described["parent_run_id"]
        if parent:
            tags["mlflow.parentRunId"] = parent
        return self.client.create_run(
            store.experiment_id(self.client, self.uri, described["experiment"]),
            start_time=max(0, int(described["created"] * 1000)),
            tags={key: clean(value) for key, value in tags.items()},
            run_name=printable(described["name"]),
        )

    def log_batch(self, run: str, batch: Sequence[Record], *, repeated: bool) -> None:
        """Store metrics, parameters and tags; values that are stored already are left out."""
        from mlflow.entities import Metric, Param, RunTag

        copy = self._copies[run]
        if repeated and copy.steps is None:
            copy.steps = self._stored_steps(run)
        given = _tags(batch)
        self._log_datasets(run, batch)
        points = sorted(_points(batch, copy.steps), key=lambda point: point[0] != page.ACCURACY)
        metrics = [Metric(*point) for point in points]  # MLflow preselects the first parameters
        params = [Param(k, v) for k, v in _new_params(batch, copy.params).items()]
        tags = [RunTag(k, v) for k, v in given.items()]
        while metrics or params or tags:
            self.client.log_batch(run, metrics[:_METRICS], params[:_PARAMS], tags[:_TAGS])
            copy.params.update({param.key: param.value for param in params[:_PARAMS]})
            metrics, params, tags = metrics[_METRICS:], params[_PARAMS:], tags[_TAGS:]
        if copy.steps is not None:  # after the call: a failed call may have stored any part
            for key, _, _, step in points:
                copy.steps.setdefault(key, set()).add(step)
        self._name_dataset(run, given)

    def artifact(self, run: str, file: Path, folder: str) -> None:
        """Store a file; a file whose name is not UTF-8 is left out, since no page can show it."""
        if clean(file.name) != file.name or clean(folder) != folder:
            log.warning("Expected a printable name of an artifact, got %r.", file.name)
            return
        self.client.log_artifact(run, str(file), folder or None)

    def model(self, run: str, files: Path, record: Record) -> None:
        """Store the saved network as the run's LoggedModel, registered if the record has a name."""
        found = self.client.get_run(run)
        tags = {RUN_TAG: found.data.tags[RUN_TAG]}
        logged_model.log_model(self.client, found, files, record, tags)

    def status(self, run: str, status: str, at: float) -> None:
        """Store the status, with the time of an end."""
        if status in ("RUNNING", "SCHEDULED"):
            self.client.update_run(run, status=status)
        else:
            self.client.set_terminated(run, _STATUS.get(status, status), max(0, int(at * 1000)))

    def _stored_steps(self, run: str) -> dict[str, set[int]]:
        keys = self.client.get_run(run).data.metrics
        history = self.client.get_metric_history
        return {key: {point.step for point in history(run, key)} for key in keys}

    def _log_datasets(self, run: str, batch: Sequence[Record]) -> None:
        known = [record for record in batch if record["kind"] == "dataset"]
        if known:
            self.client.log_inputs(run, [dataset_input(record) for record in known])

    def _name_dataset(self, run: str, tags: Mapping[str, str]) -> None:
        """Name the data of a run that an earlier version recorded without `_log_datasets`."""
        if not tags.get("task") or not tags.get("data_digest"):
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(tags["task"], tags["data_digest"][:16], "fl_platform", "{}")
        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run, [DatasetInput(dataset, context)])


def dataset_input(record: Record) -> DatasetInput:
    """A journal's record of data as an input of the run, with schema, profile and context."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types.schema import Schema, TensorSpec

    features = TensorSpec(np.dtype(record["dtype"]), (-1, *record["shape"]), "inputs")
    labels = TensorSpec(np.dtype("int64"), (-1,), "labels")
    schema = TensorDatasetSchema(Schema([features]), Schema([labels]))
    dataset = Dataset(
        clean(record["name"], 500),
        record["digest"],
        "fl_platform",
        json.dumps({"loader": clean(record["source"])}),
        json.dumps(schema.to_dict()),
        json.dumps(record["profile"]),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", record["context"])])


def find_run(client: MlflowClient, uri: str, described: Mapping[str, Any]) -> Run | None:
    """The MLflow run that copies the run ``described``, or None."""
    experiment = store.experiment_id(client, uri, described["experiment"])
    found = client.search_runs(
        [experiment], f"tags.{RUN_TAG} = '{described['run_id']}'", max_results=1
    )
    return found[0] if found else None


def _points(
    batch: Sequence[Record], stored: Mapping[str, set[int]] | None
) -> Iterator[tuple[str, float, int, int]]:
    """Points that are not in the store yet: key, value, milliseconds and step."""
    taken: set[tuple[str, int]] = set()
    for record in batch:
        if record["kind"] != "metrics":
            continue
        for given, value in record["values"].items():
            key, step = valid_key(given), page.shown_step(given, record["step"])
            if stored is not None:
                if (key, step) in taken or step in stored.get(key, ()):
                    continue
                taken.add((key, step))
            # MLflow would store an infinity as 1.8e308, which distorts every mean and axis
            number = value if math.isfinite(value) else math.nan
            yield key, number, max(0, int(record["time"] * 1000)), step


def _new_params(batch: Sequence[Record], stored: Mapping[str, str]) -> dict[str, str]:
    """Parameters that the run does not have yet: MLflow does not allow a change."""
    fresh: dict[str, str] = {}
    for record in batch:
        params = page.rule_params(record["values"]) if record["kind"] == "tags" else {}
        if record["kind"] == "params" or params:
            for key, value in (params or record["values"]).items():
                key, text = valid_key(key), clean(value, 6000)
                known = stored.get(key, fresh.get(key))
                if known is None:
                    fresh[key] = text
                elif known != text and key not in page.SHOWN:  # of an earlier version
                    log.warning("Parameter %s is %s in MLflow, now %s.", key, known, text)
    return fresh


def _tags(batch: Sequence[Record]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for record in batch:
        if record["kind"] == "tags":
            tags |= {valid_key(k): clean(v) for k, v in record["values"].items()}
            tags |= page.run_tags(tags)
        elif record["kind"] == "status":
            tags["status"] = record["status"]
            if record.get("reason"):
                tags["reason"] = clean(record["reason"])
        elif record["kind"] == "alarm":
            tags["alarm"] = clean(record["message"])
    return tags
