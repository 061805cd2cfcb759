from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.mlflow.ui import PortError, open_ui, ui_address, ui_command


def test_the_page_is_served_on_loopback_by_one_worker_without_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true")
    command, environment = ui_command(tmp_path, 5050)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--port"] == "5050"
    assert options["--backend-store-uri"] == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert set(options["--allowed-hosts"].split(",")) == {"127.0.0.1:5050", "localhost:5050"}
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_server_elsewhere_is_not_served_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@example.org")
    with pytest.raises(StoreError, match=r"https://example\.org") as refusal:
        ui_command(tmp_path)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_an_impossible_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(PortError, match="port from 1 to 65535"):
        ui_command(tmp_path, port)


def test_without_runs_the_address_is_the_list_of_experiments(tmp_path: Path) -> None:
    assert ui_address(tmp_path, 5050) == "http://127.0.0.1:5050/#/experiments"


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"Expected port {port} to be free"):
            open_ui(tmp_path, port)
    assert not (tmp_path / "mlruns").exists()
