"""The saved network of a run as a LoggedModel, and its registration: each once per run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fl_platform.core.outside import parse_json
from fl_platform.tracking.mlflow.names import clean
from fl_platform.tracking.mlflow.ui_view import SHOWN

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.tracking.client import MlflowClient

_VERSIONS = "mlflow.modelVersions"  # the tag from which a model's page lists its versions
PREFIX = "model/"  # of the saved network's own metrics
_TOLD = (*SHOWN, "task.name", "seed", "rounds")  # parameters of the run that the model repeats


def log_model(
    client: MlflowClient, run: Run, files: Path, record: Mapping[str, Any], tags: dict[str, str]
) -> str:
    """Store the model in the folder ``files`` as the one of ``run``; returns the model's id.

    Every step first looks for its own result, so that a repeated call adds nothing.

    Args:
        record: the journal's record of the model; see `records`.
        tags: what identifies the run: the model is found by them.
    """
    model = _found(client, run, tags) or client.create_logged_model(
        run.info.experiment_id,
        name=re.sub(r"[/:.%\"']", "_", clean(run.info.run_name, 200)),
        source_run_id=run.info.run_id,
        tags=tags,
        params={key: run.data.params[key] for key in _TOLD if key in run.data.params},
        model_type="classifier",
    )
    number = str(model.model_id)
    if model.status != "READY":
        _upload(client, run, model, files)
        client.finalize_logged_model(number, "READY")
    _link(client, run, number)
    _log_values(client, run, number, record)
    if record["registered"]:
        _register(client, run, model, record["registered"])
    return number


def _found(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> LoggedModel | None:
    wanted = " AND ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    for model in client.search_logged_models([run.info.experiment_id], wanted):
        if model.source_run_id == run.info.run_id:
            return model
    return None


def _upload(client: MlflowClient, run: Run, model: LoggedModel, files: Path) -> None:
    """Copy the files, with the ids of model and run in the file that describes the model."""
    from mlflow.models import Model

    with TemporaryDirectory() as folder:
        copy = Path(folder) / "model"
        shutil.copytree(files, copy, symlinks=True, ignore=_links)
        described = Model.load(str(copy))
        described.model_id = described.model_uuid = model.model_id
        described.run_id = run.info.run_id
        described.artifact_path = model.artifact_location
        described.save(str(copy / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(copy))


def _links(folder: str, names: list[str]) -> list[str]:
    """Links among the names: they are left out, never followed."""
    return [name for name in names if (Path(folder) / name).is_symlink()]


def _link(client: MlflowClient, run: Run, number: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if all(output.model_id != number for output in outputs):
        client.log_outputs(run.info.run_id, [LoggedModelOutput(number, step=0)])


def _log_values(client: MlflowClient, run: Run, number: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(
            PREFIX + key,
            value,
            max(0, int(record["time"] * 1000)),
            0,
            model_id=number,
            dataset_name=clean(record["dataset"], 500),
            dataset_digest=record["digest"],
            run_id=run.info.run_id,
        )
        for key, value in record["values"].items()
        if PREFIX + key not in run.data.metrics
    ]
    if metrics:
        client.log_batch(run.info.run_id, metrics)


def _register(client: MlflowClient, run: Run, model: LoggedModel, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    mine = f"name = '{name}' and run_id = '{run.info.run_id}'"
    versions = list(client.search_model_versions(mine, max_results=1))
    if not versions:
        # not models:/ID, which MLflow would look up in the store of its own default address
        source, number = model.artifact_location, model.model_id
        versions = [
            client.create_model_version(name, source, run_id=run.info.run_id, model_id=number)
        ]
    known = parse_json(model.tags.get(_VERSIONS, "[]").encode(), f"tag {_VERSIONS}")
    entry = {"name": name, "version": int(versions[0].version)}
    if entry not in known:
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps([*known, entry])})
