from __future__ import annotations

import asyncio
import importlib.metadata
import socket
import subprocess
import sys
from importlib.metadata import EntryPoints
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.mlflow.ui import (
    SAFE_FOLDER,
    PortError,
    expect_login,
    open_ui,
    ui_address,
    ui_command,
)
from fl_platform.tracking.mlflow.ui_login import VARIABLE, Login, open_path

if TYPE_CHECKING:
    from fl_platform.tracking.mlflow.ui_app import BehindLogin


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


def asked(application: BehindLogin, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of one request, without a server."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": pairs}
    asyncio.run(application(scope, lambda: None, send))
    return sent[0]["status"], {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> type[BehindLogin]:
    monkeypatch.setenv(VARIABLE, "secret")
    from fl_platform.tracking.mlflow.ui_app import BehindLogin

    return BehindLogin


def test_only_who_knows_the_token_sees_the_page(guarded: type[BehindLogin]) -> None:
    application = guarded(page, Login("secret"))
    for path in ("/", "/api/2.0/mlflow/experiments/search", "/ajax-api/x", "/open/other/"):
        assert asked(application, path)[0] == 401
        assert asked(application, path, authorization="Bearer other")[0] == 401
        assert asked(application, path, cookie="fl_platform_login=other")[0] == 401
        assert asked(application, path, cookie="fl_platform_login=\x00;;=")[0] == 401
        assert asked(application, path, authorization="Bearer secret")[0] == 200
    status, headers = asked(application, open_path("secret"))
    assert (status, headers["location"]) == (303, "/")
    cookie, *kinds = headers["set-cookie"].split("; ")
    assert set(kinds) == {"Path=/", "HttpOnly", "SameSite=Lax"}
    assert asked(application, "/", cookie=f"a=b; {cookie}")[0] == 200
    assert asked(application, "/health")[0] == 200  # whether it is there, and nothing else


def test_without_a_token_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Expected a token"):
        Login("")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: EntryPoints())
    with pytest.raises(StoreError, match="make install"):
        expect_login()


def test_each_start_has_a_token_of_its_own_outside_the_command_line(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        command, environment = ui_command(tmp_path, 5050)
        tokens.append(environment[VARIABLE])
        assert environment[VARIABLE] not in " ".join(command)
        assert command[command.index("--app-name") + 1] == "fl-platform"
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 32
    assert ui_address(tmp_path, 5050, "t").startswith("http://fl-platform.localhost:5050/open/t/#/")


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
