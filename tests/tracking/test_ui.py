from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.tracking.mlflow import ui
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.mlflow.ui import (
    SAFE_FOLDER,
    PortError,
    open_ui,
    other_users,
    refuse_shared_machine,
    ui_address,
    ui_command,
)


def test_the_page_is_served_on_loopback_by_one_worker_without_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true")
    command, environment = ui_command(tmp_path, 5050)
    assert command[1:5] == ["-P", "-m", "mlflow", "server"]
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--port"] == "5050"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert set(options["--allowed-hosts"].split(",")) == {
        "127.0.0.1:5050",
        "localhost:5050",
        "fl-platform.localhost:5050",
    }
    assert options["--cors-allowed-origins"] == "http://fl-platform.localhost:5050"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_server_elsewhere_is_not_served_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@example.org")
    with pytest.raises(StoreError, match=r"https://example\.org") as refusal:
        ui_command(tmp_path)
    assert "secret" not in str(refusal.value)


def test_no_password_stands_in_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql://me:canary@host/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command, environment = ui_command(tmp_path)
    assert "canary" not in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_stranger_s_module_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by MLflow nor by uvicorn, which puts its own working directory first."""
    for name in ("mlflow", "uvicorn", "click", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    command, environment = ui_command(tmp_path / "home")
    assert command[1] == "-P"
    version = subprocess.run(
        [*command[:4], "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert "mlflow" in version.stdout
    inner = [sys.executable, "-m", "uvicorn", "--version"]  # as MLflow starts it
    subprocess.run(inner, env=environment, cwd=SAFE_FOLDER, check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()
    assert Path(SAFE_FOLDER).stat().st_uid == 0


def test_where_others_are_at_work_nothing_is_served_without_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ui, "other_users", lambda: ["ada", "bob"])
    with pytest.raises(PortError, match=r"got ada, bob.*can read and delete.*--shared-machine"):
        refuse_shared_machine(allowed=False)
    refuse_shared_machine(allowed=True)
    monkeypatch.setattr(ui, "other_users", list)
    refuse_shared_machine(allowed=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_somebody_else_s_process_is_noticed() -> None:
    before = other_users()
    other = subprocess.Popen(["sleep", "60"], user=54321)
    try:
        assert len(other_users()) == len(before) + 1
    finally:
        other.kill()
        other.wait()
    assert other_users() == before


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_an_impossible_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(PortError, match="port from 1 to 65535"):
        ui_command(tmp_path, port)


def test_without_runs_the_address_is_the_list_of_experiments(tmp_path: Path) -> None:
    assert ui_address(tmp_path, 5050) == "http://fl-platform.localhost:5050/#/experiments"


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"Expected port {port} to be free"):
            open_ui(tmp_path, port)
    assert not (tmp_path / "mlruns").exists()
