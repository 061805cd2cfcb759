"""The saved network: its LoggedModel in MLflow, once, and what a stranger can do with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl_platform.config import Config, ConfigError, compose, config_hash
from fl_platform.run import saved_model
from fl_platform.run.build import load_population
from fl_platform.run.lookup import complete
from fl_platform.run.runner import run
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.journal import read
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.sync import sync
from fl_platform.tracking.run_folder import RunFolder, run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "digits network"
# A stranger: no fl_platform, no pickle.
READER = """
import json, sys
sys.modules["fl_platform"] = None
import mlflow, numpy, torch
data = numpy.load(sys.argv[3])
mlflow.set_tracking_uri(sys.argv[1])
network = mlflow.pytorch.load_model(sys.argv[2])
images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
outputs = network(images)
generic = mlflow.pyfunc.load_model(sys.argv[2])
example = generic.input_example
told = {
    "accuracy": float((outputs.argmax(1) == labels).double().mean()),
    "same": bool(torch.equal(torch.from_numpy(generic.predict(data["images"])), outputs)),
    "alone": bool(torch.allclose(network(images[:1]), outputs[:1], atol=1e-5)),
    "example": [str(example.dtype), list(example.shape)],
    "signature": generic.metadata.signature.to_dict(),
    "ours": sorted(name for name in sys.modules if name.startswith("fl_platform.")),
}
print(json.dumps(told))
"""


def _config(home: Path, *overrides: str) -> Config:
    base = ["task=digits", "attack=none", "defense=median", "rounds=6", "runtime.progress=none"]
    return compose([*base, "runtime.tracking=journal", *overrides], home)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run, whose model is in MLflow."""
    home = tmp_path_factory.mktemp("home")
    (home / "conf").symlink_to(REPOSITORY / "conf")
    run(_config(home, f"runtime.register={NAME}", "task.validation=0.2"), home)
    assert sync(home).complete
    return home


def _only_model(home: Path) -> tuple[Any, Any, Any]:
    client = store.connect(home)
    experiments = [e.experiment_id for e in client.search_experiments()]
    (logged,) = client.search_runs(experiments)
    (model,) = client.search_logged_models(experiments)
    return client, logged, model


def test_a_stranger_gets_the_recorded_accuracy_without_this_project(
    made: Path, tmp_path: Path
) -> None:
    config = _config(made, "task.validation=0.2")
    test = load_population(config, made).held_out["test"]
    np.savez(tmp_path / "test.npz", images=test.inputs.numpy(), labels=test.targets.numpy())
    result = complete(config, made)
    assert result is not None
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "CUDA_VISIBLE_DEVICES": ""}
    words = [store.tracking_uri(made), f"models:/{NAME}/1", str(tmp_path / "test.npz")]
    command = [sys.executable, "-P", "-c", READER, *words]
    told = json.loads(subprocess.check_output(command, env=environment, cwd=tmp_path))
    assert 100 * told["accuracy"] == pytest.approx(result.accuracy_last, abs=1e-9)
    assert told["same"]
    assert told["alone"]
    assert told["example"] == ["uint8", [2, 1, 8, 8]]
    (spec,) = json.loads(told["signature"]["inputs"])
    assert spec["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 1, 8, 8]}
    assert told["ours"] == []


def test_the_model_is_linked_to_run_data_and_version(made: Path) -> None:
    client, logged, model = _only_model(made)
    assert model.status == "READY"
    assert model.source_run_id == logged.info.run_id
    assert model.params["Defense rule"] == "median"
    values = {metric.key: metric for metric in model.metrics}
    accuracy = values["model/accuracy"]
    assert 100 * accuracy.value == pytest.approx(logged.data.metrics["result/accuracy_last"])
    assert accuracy.dataset_name == "digits test"
    assert [output.model_id for output in logged.outputs.model_outputs] == [model.model_id]
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert (version.source, version.run_id) == (model.artifact_location, logged.info.run_id)
    versions = json.loads(model.tags["mlflow.modelVersions"])  # what the model's page lists
    assert versions == [{"name": NAME, "version": 1}]
    described = (Path(model.artifact_location.removeprefix("file://")) / "MLmodel").read_text()
    assert model.model_id in described
    assert logged.info.run_id in described


def test_the_data_have_name_digest_schema_and_context(made: Path) -> None:
    _, logged, _ = _only_model(made)
    found = {
        entry.dataset.name: (entry.dataset, {tag.key: tag.value for tag in entry.tags})
        for entry in logged.inputs.dataset_inputs
    }
    contexts = {name: tags["mlflow.data.context"] for name, (_, tags) in found.items()}
    assert contexts == {
        "digits": "training",
        "digits test": "testing",
        "digits validation": "validation",
    }
    digest = logged.data.tags["data_digest"][:16]
    assert found["digits"][0].digest == found["digits test"][0].digest == digest
    assert found["digits validation"][0].digest != digest
    schema = json.loads(found["digits test"][0].schema)["mlflow_tensorspec"]
    (features,) = json.loads(schema["features"])
    assert features["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 1, 8, 8]}
    sizes = {name: json.loads(data.profile)["samples"] for name, (data, _) in found.items()}
    assert sizes == {"digits": 1437, "digits test": 360, "digits validation": 287}


def test_the_test_accuracy_at_the_best_validation_is_a_result(made: Path) -> None:
    config = _config(made, "task.validation=0.2")
    history = read(run_folder(made, config_hash(config)).journal)
    validation, test = (history.curve(f"{name}/accuracy") for name in ("validation", "test"))
    best = max(value for _, value in validation)
    first = next(step for step, value in validation if value == best)
    result = complete(config, made)
    assert result is not None
    assert result.test_at_best_validation == 100 * dict(test)[first]
    _, logged, _ = _only_model(made)
    stored = logged.data.metrics["result/test_at_best_validation"]
    assert stored == result.test_at_best_validation


def test_each_class_has_its_accuracy(made: Path) -> None:
    result = complete(_config(made, "task.validation=0.2"), made)
    assert result is not None
    _, logged, _ = _only_model(made)
    found = {k: v for k, v in logged.data.metrics.items() if k.startswith("class/")}
    assert found == {
        f"class/accuracy_{label}": share for label, share in enumerate(result.accuracy_per_class)
    }


def test_a_finished_run_gets_its_model_later_and_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    plain, asked = _config(tmp_path), _config(tmp_path, "runtime.model=true")
    assert config_hash(plain) == config_hash(asked)
    first = run(plain, tmp_path)
    assert first.test_at_best_validation is None  # without validation samples
    folder = run_folder(tmp_path, config_hash(plain))
    before = read(folder.journal)
    assert complete(asked, tmp_path) is None
    assert run(asked, tmp_path) == first
    after = read(folder.journal)
    assert after.metrics == before.metrics
    assert after.model is not None
    assert 100 * after.model["values"]["accuracy"] == pytest.approx(first.accuracy_last)
    assert complete(asked, tmp_path) == first
    assert complete(_config(tmp_path, "runtime.register=other"), tmp_path) is None
    (folder.artifacts / "weights.pt").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"weights\.pt"):
        run(_config(tmp_path, "runtime.register=other"), tmp_path)


class Branching(nn.Linear):
    """A layer whose way depends on the values that it reads."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        return super().forward(flat if flat.mean().item() > 0 else -flat)


class OneSize(nn.Linear):
    """A layer for batches of two."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs.reshape(2, 64))


@pytest.mark.parametrize("kind", [Branching, OneSize])
def test_a_network_that_cannot_be_exported_is_refused_before_training(
    tmp_path: Path, kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    config = _config(tmp_path, "runtime.model=true")
    population = load_population(config, tmp_path)
    monkeypatch.setattr(saved_model, "build_model", lambda *_: kind(64, 10))
    with pytest.raises(ConfigError, match=r"^runtime\.model: expected a network"):
        saved_model.refuse_export(config, population)
    saved_model.refuse_export(_config(tmp_path), population)  # nobody asked


def _with_model(home: Path, files: tuple[str, ...] = ("MLmodel", "data/model.pt2")) -> RunFolder:
    """A run folder whose model is a few bytes."""
    with ActiveRun.open(
        home, name="none vs mean, digits s0", config_hash="1" * 64, experiment="digits",
        conditions={}, tracking="journal",
    ) as record:  # fmt: skip
        record.start(params={"seed": 0}, tags={"task": "digits"})
        for name in files:
            path = record.folder.artifacts / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("flavors: {}\n")
        entry = {"path": "artifacts/model", "registered": NAME, "values": {"accuracy": 0.5}}
        record.publish_model({**entry, "dataset": "digits test", "digest": "d" * 16})
        record.finish()
        return record.folder


CALLS = (
    *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"),
    *("create_registered_model", "create_model_version", "set_logged_model_tags"),
)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_a_lost_answer_doubles_no_model(
    home: Path, monkeypatch: pytest.MonkeyPatch, call: str, arrives: bool
) -> None:
    from mlflow.tracking.client import MlflowClient

    folder, real = _with_model(home), getattr(MlflowClient, call)

    def lost(*args: Any, **kwargs: Any) -> None:
        if arrives:
            real(*args, **kwargs)
        raise ConnectionError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, lost)
        assert not sync(home).complete
    assert sync(home).complete
    folder.forwarded.unlink()  # the cursor is lost too: all is sent again
    assert sync(home).complete
    client, logged, model = _only_model(home)
    assert model.status == "READY"
    assert len(logged.outputs.model_outputs) == 1
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert len(client.get_metric_history(logged.info.run_id, "model/accuracy")) == 1
    assert len(json.loads(model.tags["mlflow.modelVersions"])) == 1
    place = Path(model.artifact_location.removeprefix("file://"))
    assert (place / "data" / "model.pt2").is_file()


def test_no_link_in_a_model_is_followed(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "secret").write_text("canary")
    folder = _with_model(home, ("MLmodel",))
    (folder.artifacts / "model" / "data").symlink_to(home / "secret")
    assert sync(home).complete
    assert "Expected a model inside the run folder" in caplog.text
    client = store.connect(home)
    assert not client.search_logged_models([e.experiment_id for e in client.search_experiments()])
