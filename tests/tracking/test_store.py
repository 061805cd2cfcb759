from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from fl_platform.core.text import reason
from fl_platform.tracking.mlflow import store


def test_processes_that_start_on_an_empty_store_all_get_it(tmp_path: Path) -> None:
    import mlflow.tracking.client  # noqa: F401 - once, before the fork

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                client = store.connect(tmp_path)
                number = store.experiment_id(client, store.tracking_uri(tmp_path), "digits")
                client.create_run(number)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * 4

    file = tmp_path / "mlruns" / "mlflow.db"
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (4,)
        names = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    assert sorted(name for name, _ in names) == ["Default", "digits"]
    assert all(str(tmp_path / "mlruns" / "artifacts") in place for _, place in names)
    assert (tmp_path / "mlruns").stat().st_mode & 0o077 == 0
    assert file.stat().st_mode & 0o077 == 0
    assert os.environ.get("MLFLOW_TRACKING_URI") is None


def test_a_moved_home_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """MLflow stores absolute paths: files would go to the folder of before."""
    first, second = tmp_path / "first", tmp_path / "second"
    client = store.connect(first)
    store.experiment_id(client, store.tracking_uri(first), "digits")
    first.rename(second)
    client, uri = store.connect(second), store.tracking_uri(second)
    with pytest.raises(store.StoreError, match=r"moved or copied: move .*mlflow\.db.*runs sync"):
        store.experiment_id(client, uri, "digits")
    assert store.experiment_id(client, uri, "other")  # made here, so its files stay here
    assert not first.exists()


def test_a_home_with_signs_of_addresses_keeps_its_store_inside(tmp_path: Path) -> None:
    home = tmp_path / "what? {is} 100%25 #1"
    client, uri = store.connect(home), store.tracking_uri(home)
    found = client.get_experiment(store.experiment_id(client, uri, "digits"))
    assert (home / "mlruns" / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [home.name]
    assert store.database(uri) == home / "mlruns" / "mlflow.db"
    store.refuse_moved(uri, "digits", found.artifact_location)


def test_a_damaged_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlruns" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(store.StoreError, match=r"Nothing is lost:.*runs sync"):
        store.connect(tmp_path)
    assert file.read_bytes() == b"not a database" * 1000


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host:5000")
    uri = store.tracking_uri(tmp_path)
    assert uri == "http://user:secret@host:5000"
    assert store.safe_uri(uri) == "http://host:5000"
    assert store.database(uri) is None
    assert store.safe_uri("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:canary@host/runs",
        "postgresql://user:p@canary@host/runs",
        "postgresql://user:p/canary@host/runs",
        "postgresql://host/runs?user=me&password=canary",
        "http://canary@host/runs",
        "https://host/runs?token=canary",
    ],
)
def test_no_secret_of_an_address_is_told(uri: str) -> None:
    address = f"{uri.partition('://')[0]}://host/runs"
    assert store.safe_uri(uri) == address
    error = OSError(f"cannot reach '{uri}' today: is {uri} right?")
    assert reason(error) == f"cannot reach '{address}' today: is {address} right?"
