from __future__ import annotations

import math
import shutil
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fl_platform.tracking import frames as table
from fl_platform.tracking import uploader
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.exporter import Export
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow import ui_view as page
from fl_platform.tracking.mlflow.level import level
from fl_platform.tracking.mlflow.mlflow_exporter import MlflowExporter
from fl_platform.tracking.mlflow.sync import sync
from fl_platform.tracking.run_folder import RunFolder


def _hash(index: int) -> str:
    return f"{index:064x}"[::-1]


def _open(home: Path, index: int = 1, **changes: Any) -> ActiveRun:
    settings: dict[str, Any] = {
        "name": f"strike(nu=1) vs mean, digits s{index}",
        "config_hash": _hash(index),
        "experiment": "digits",
        "conditions": {"device": "cpu"},
        "tracking": "journal",
    }
    return ActiveRun.open(home, **(settings | changes))


def _run(home: Path, index: int = 1, rounds: int = 12, **changes: Any) -> RunFolder:
    with _open(home, index, **changes) as record:
        params = {
            "seed": index,
            "task": {"clients": 50, "partition": "dirichlet", "beta": 0.5},
            "byzantine.fraction": 0.2,
        }
        record.start(params=params, tags={"task": "digits", "attack": "strike", "nu": 1})
        for t in range(rounds):
            record.log(t, {"test/accuracy": t / 100, "round/rho": math.inf, "test/loss": math.nan})
        (record.folder.artifacts / "config.yaml").write_text("seed: 1")
        record.publish(record.folder.artifacts / "config.yaml", "config")
        record.finish("FINISHED", {"seconds": 2.5})
        return record.folder


def _close_stores() -> None:
    """This process forgets the files that are about to go."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


def _only_run(home: Path) -> Any:
    client = store.connect(home)
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    return client, run


def _steps(client: Any, run: Any, key: str = "test/accuracy") -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, key))


def test_a_run_is_brought_whole_and_only_once(home: Path) -> None:
    folder = _run(home)
    assert sync(home).records > 12
    assert sync(home).records == 0
    folder.forwarded.unlink()  # even where the cursor is lost
    assert sync(home).complete
    client, run = _only_run(home)
    assert _steps(client, run) == list(range(12))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "strike(nu=1) vs mean, digits s1"
    assert run.data.tags["config_hash"] == _hash(1)
    assert run.data.tags["device"] == "cpu"
    assert run.data.params["task.clients"] == "50"
    assert math.isnan(run.data.metrics["round/rho"])  # never 1.8e308
    (artifact,) = client.list_artifacts(run.info.run_id, "config")
    assert artifact.path == "config/config.yaml"
    assert (home / "mlruns" / "artifacts" / run.info.run_id).is_dir()


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("good", [0, 1, 4])
def test_calls_that_fail_are_repeated_harmlessly_and_lose_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, good: int, arrives: bool
) -> None:
    """From a call on every answer is lost, twice over; then another process goes on."""
    folder = _run(home)
    exporter = MlflowExporter(home)
    export, client, calls = Export(home, exporter=exporter), exporter.client, []
    real = client.log_batch

    def lost(*args: Any) -> None:
        calls.append(args)
        if arrives or len(calls) <= good:
            real(*args)
        if len(calls) > good:
            raise ConnectionError("the answer was lost")

    # so that it takes many calls
    monkeypatch.setattr("fl_platform.tracking.mlflow.mlflow_exporter._METRICS", 8)
    monkeypatch.setattr(client, "log_batch", lost)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            export.upload(folder)
    monkeypatch.undo()
    assert len(calls) == good + 2
    assert sync(home).complete
    _, run = _only_run(home)
    assert _steps(client, run) == list(range(12))


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(home: Path) -> None:
    with _open(home) as record:
        record.start(params={"seed": 1}, tags={})
        record.log(0, {"test/accuracy": 0.0})
        record.finish("KILLED")
    sync(home)
    client, run = _only_run(home)
    assert run.info.status == "KILLED"
    with _open(home) as record:
        record.start(params={"seed": 1}, tags={})
        sync(home)
        assert _only_run(home)[1].info.status == "RUNNING"
        for t in range(3):
            record.log(t, {"test/accuracy": t / 100})
        record.finish("DIVERGED", reason="loss is NaN")
    sync(home)
    run = _only_run(home)[1]
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "DIVERGED")
    assert _steps(client, run) == [0, 1, 2]


def test_records_that_were_brought_and_then_lost_with_the_power_are_not_doubled(
    home: Path,
) -> None:
    """The journal's tail was never synced: the replay writes the same values at other times."""
    with _open(home) as record:
        record.start(params={}, tags={})
        record.journal.flush()
        durable = record.folder.journal.read_bytes()
        record.log(0, {"test/accuracy": 0.5})
        sync(home)
        record.journal.close()
        record.folder.journal.write_bytes(durable)
    with _open(home) as record:
        record.start(params={}, tags={})
        record.log(0, {"test/accuracy": 0.5})
        record.finish()
    sync(home)
    client, run = _only_run(home)
    assert _steps(client, run) == [0]
    assert run.info.status == "FINISHED"


def test_a_store_that_was_lost_is_filled_again(home: Path, empty_store: Path) -> None:
    folder = _run(home)
    before = sync(home).records
    _close_stores()
    shutil.copy(empty_store, home / "mlruns" / "mlflow.db")
    assert Export(home).upload(folder) == before
    client, run = _only_run(home)
    assert _steps(client, run) == list(range(12))


def test_children_hang_on_their_parent(home: Path) -> None:
    with _open(home, 9, name="grid") as parent:
        parent.start(params={}, tags={"kind": "grid"})
        _run(home, 1, parent_run_id=parent.run_id)
        parent.finish()
    assert sync(home).complete
    client = store.connect(home)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = {run.info.run_name: run for run in client.search_runs(experiments)}
    child = runs["strike(nu=1) vs mean, digits s1"]
    assert child.data.tags["mlflow.parentRunId"] == runs["grid"].info.run_id


def test_the_frame_is_the_same_from_the_store_and_from_the_folders(home: Path) -> None:
    _run(home, 1)
    _run(home, 2)
    _run(home, 3, name="digits none vs mean s3\x1b[31m<script>"[:22])
    with _open(home, 2, fresh=True) as record:  # the first of these is replaced
        record.start(params={"seed": 2}, tags={"task": "digits"})
        record.log(0, {"test/accuracy": 0.3})
        record.finish("DIVERGED")
    sync(home)
    folders, mlflow = (table.runs(home, source) for source in ("folders", "mlflow"))
    pd.testing.assert_frame_equal(folders, mlflow)
    assert list(folders.columns) == list(table.COLUMNS)
    assert folders.status.tolist().count("DIVERGED") == 1
    first = folders[folders.seed == 1].iloc[0]
    assert first.accuracy_best == pytest.approx(11.0)
    assert (first.clients, first.nu, first.beta, first.seconds) == (50, 1, 0.5, 2.5)
    assert math.isnan(folders[folders.seed == 2].iloc[0].accuracy_last)
    keys = ("test/accuracy", "round/rho")
    ours, theirs = (table.curves(home, keys, source) for source in ("folders", "mlflow"))
    pd.testing.assert_frame_equal(ours, theirs)
    assert len(ours) == 12 * 2 * 2 + 1
    logged = set(table.metric_names(home, "folders"))
    assert {"test/accuracy", "round/rho", "test/loss", "time/seconds"} <= logged
    assert logged == set(table.metric_names(home, "mlflow"))


def test_the_uploader_copies_the_rest_when_the_run_ends(home: Path) -> None:
    with _open(home, tracking="mlflow") as record:
        record.start(params={}, tags={})
        record.log(0, {"test/accuracy": 0.5})
        record.finish()
    uploader.finish()
    client, run = _only_run(home)
    assert run.info.status == "FINISHED"
    assert _steps(client, run) == [0]


def test_a_store_that_does_not_answer_costs_no_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = _run(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    uploader.follow(home, "mlflow", folder.path)
    uploader.finish()
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "runs sync" in told
    assert str(folder.path) in told


def test_nobody_waits_for_a_server_that_hangs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = _run(home)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()  # takes calls and never answers
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
            patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
            uploader.follow(home, "mlflow", folder.path)
            server.accept()  # the process is inside its call
            uploader.finish()
    assert "it did not accept them in time" in capfd.readouterr().err
    assert sync(home).complete
    assert _steps(*_only_run(home)) == list(range(12))


def test_text_that_is_no_utf_8_keeps_no_run_out(home: Path) -> None:
    """A Latin-1 name of a file reaches parameters, tags, reasons and names as a surrogate."""
    odd = "caf\udce9.npz"
    with _open(home, name=f"arrays {odd}", experiment=f"e {odd}") as record:
        record.start(params={"task.data.file": odd}, tags={"data_notes": odd, "nul": "a\0b"})
        (record.folder.artifacts / "caf\udce9.txt").write_text("x")
        record.publish(record.folder.artifacts / "caf\udce9.txt")
        record.journal.note("alarm", message=odd)
        record.finish("DIVERGED", reason=odd)
    assert sync(home).complete
    _, run = _only_run(home)
    mended = "caf\N{REPLACEMENT CHARACTER}.npz"
    assert run.data.params["task.data.file"] == mended
    assert run.data.tags["data_notes"] == mended
    assert run.data.tags["reason"] == run.data.tags["alarm"] == mended
    assert run.info.run_name == f"arrays {mended}"
    assert sync(home).records == 0


def test_a_home_that_was_copied_writes_nothing_into_the_old_one(home: Path, tmp_path: Path) -> None:
    from fl_platform.doctor import examine

    _run(home)
    assert sync(home).complete
    copy = tmp_path / "copy"
    shutil.copytree(home / "mlruns", copy / "mlruns")
    _run(copy, 2)
    (failed,) = set(sync(copy).failed.values())
    assert "was moved or copied" in failed
    assert "move mlruns/mlflow.db" in failed
    assert examine(copy) == 1
    _close_stores()
    for part in ("", "-wal", "-shm"):
        (copy / "mlruns" / f"mlflow.db{part}").unlink(missing_ok=True)
    assert sync(copy).complete
    assert len(list((copy / "mlruns" / "artifacts").iterdir())) == 1 + 2  # one was copied along
    assert len(list((home / "mlruns" / "artifacts").iterdir())) == 1


def test_a_deleted_experiment_is_told_with_its_remedy_and_hides_no_page(home: Path) -> None:
    from fl_platform.tracking.mlflow.ui import ui_address

    _run(home)
    sync(home)
    client, run = _only_run(home)
    client.delete_experiment(run.info.experiment_id)
    assert ui_address(home, 5050) == "http://fl-platform.localhost:5050/#/experiments"
    _run(home, 2)
    (told,) = set(sync(home).failed.values())
    assert f"mlflow experiments restore -x {run.info.experiment_id}" in told


def test_a_home_with_signs_of_addresses_keeps_its_store_inside(tmp_path: Path) -> None:
    home = tmp_path / "what? {x} %41#"
    _run(home)
    assert sync(home).complete
    assert _steps(*_only_run(home)) == list(range(12))
    assert (home / "mlruns" / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


def test_no_artifact_leaves_the_run_folder(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = home / "secret"
    secret.write_text("canary")
    with _open(home) as record:
        record.start(params={}, tags={})
        record.journal.note("artifact", path="../../../secret", folder="")
        (record.folder.artifacts / "link").symlink_to(secret)
        record.journal.note("artifact", path="artifacts/link", folder="")
        record.finish()
    assert sync(home).complete
    assert caplog.text.count("Expected an artifact inside the run folder") == 2
    client, run = _only_run(home)
    assert not client.list_artifacts(run.info.run_id)


def test_the_page_gets_a_description_a_dataset_and_one_number_a_run(home: Path) -> None:
    with _open(home, conditions={"data_digest": 64 * "d"}) as record:
        record.start(params={"attack": "lie", "attack.z": 1.5}, tags={"task": "digits"})
        record.log(1, {"round/loss": 2.0, "test/accuracy": 0.5})
        record.finish("FINISHED", {"seconds": 2.5})
    with _open(home, 2) as other:
        other.start(params={"attack": "strike", "attack.nu": 1.0}, tags={"task": "digits"})
        other.finish()
    sync(home)
    client = store.connect(home)
    assert level(client) == 2
    sync(home)
    experiment = client.get_experiment_by_name("digits")
    assert experiment.tags[page.VIEW_TAG] == page.experiment_tags()[page.VIEW_TAG]
    (run,) = client.search_runs([experiment.experiment_id], "params.attack = 'lie'")
    assert record.folder.path.name in run.data.tags["mlflow.note.content"]
    assert run.data.params["attack.nu"] == "-"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", 16 * "d")
    assert _steps(client, run, "result/accuracy_tail") == [0]
    assert _steps(client, run) == [1]
    assert next(iter(run.data.metrics)) == "test/accuracy"  # what MLflow preselects
    folders, mlflow = (table.runs(home, source) for source in ("folders", "mlflow"))
    pd.testing.assert_frame_equal(folders, mlflow)
