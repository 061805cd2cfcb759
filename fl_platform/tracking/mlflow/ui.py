"""MLflow's page for the store: on loopback, with one worker and without optional services."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow import ui_view as page
from fl_platform.tracking.mlflow.level import level
from fl_platform.tracking.mlflow.ui_login import VARIABLE, new_token, open_path
from fl_platform.tracking.run_folder import RunFolder, all_runs

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAME = "fl-platform.localhost"  # this machine; for 127.0.0.1 MLflow opens its assistant first
SAFE_FOLDER = "/"  # uvicorn imports from its working directory; only root writes to this one
ELSEWHERE = f"If the browser does not find {NAME}, put 127.0.0.1 in its place."
APP = "fl-platform"  # our entry point of MLflow's group of web applications
PRIVATE = "The address is the login: who has it can read and delete all that the page shows."


class PortError(OSError):
    """A port that cannot be used."""


def ui_command(
    home: Path | str, port: int = 5000, token: str = ""
) -> tuple[list[str], dict[str, str]]:
    """The server's command line and environment; run it in :data:`SAFE_FOLDER`.

    The address of the store, which may hold a password, and the token of the login stand in the
    environment: other users of the machine can read a command line. Job execution is off (it has
    had holes that let strangers run code), models are not unpickled, and only requests for this
    machine's own name are answered.

    Raises:
        PortError: an invalid port.
        StoreError: the store is a server of its own.
    """
    if not 0 < port < 65536:
        raise PortError(f"Expected a port from 1 to 65535, got {port}.")
    uri = store.tracking_uri(home)
    if store.database(uri) is None and "://" in uri and uri.startswith("http"):
        raise store.StoreError(
            f"Expected a store on this machine, got the server {store.safe_uri(uri)}: open that"
            " address in a browser instead."
        )
    artifacts = store.artifact_folder(uri) or store.store_folder(home) / "artifacts"
    file = store.database(uri)
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--default-artifact-root", artifacts.as_uri()),
        *("--app-name", APP),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port},{NAME}:{port}"),
        *("--cors-allowed-origins", f"http://{NAME}:{port}"),
        *("--uvicorn-opts", "--log-level=warning"),
    ]
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",  # no import from the working directory
        "MLFLOW_BACKEND_STORE_URI": uri if file is None else store.sqlite_uri(file),
        VARIABLE: token or new_token(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return command, environment


def ui_address(home: Path | str, port: int = 5000, token: str = "") -> str:
    """The page of the newest run's experiment, in our view of it, past MLflow's overview.

    A parent run is used only without trained runs, which the view shows.
    """
    newest = max(all_runs(home), key=_age, default=None)
    base = f"http://{NAME}:{port}{open_path(token) if token else '/'}#/experiments"
    if newest is None:
        return base
    client = store.connect(home)
    name = (newest.describe() or {}).get("experiment", "Default")
    try:
        number = store.experiment_id(client, store.tracking_uri(home), name)
        known = client.get_experiment(number).tags
    except store.StoreError:  # a deleted experiment can be restored on the page
        return base
    for key, value in page.experiment_tags().items():
        # an experiment older than the tag; shared stores are not changed
        if key not in known or (key == page.VIEW_TAG and known[key] != value):
            client.set_experiment_tag(number, key, value)
    how = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={page.VIEW}"
    return f"{base}/{number}/runs?{how}"


def _age(run: RunFolder) -> tuple[bool, float]:
    """The sort key of run folders by time, parents first."""
    trained = bool((run.describe() or {}).get("conditions"))
    return trained, run.identity_file.stat().st_mtime


def open_ui(home: Path | str, port: int = 5000, announce: Callable[[str], object] = print) -> int:
    """Serve the page until interrupted; print the address when the server is ready.

    The server and its worker are in a process group of their own, which ends with this call in
    every case except SIGKILL.

    Raises:
        PortError: a port that is in use or invalid.
        StoreError: the store cannot be opened, or the server ended by itself.
    """
    token = new_token()
    command, environment = ui_command(home, port, token)
    expect_free(port)
    expect_login()
    address = ui_address(home, port, token)
    with _group(command, environment) as server:
        announce(f"MLflow takes some seconds to start. {PRIVATE}")
        level(store.connect(home))
        while server.poll() is None and not _answers(port):
            time.sleep(0.2)
        if server.poll() is None:
            announce(f"{address}\nCtrl-C ends it. {ELSEWHERE}")
        code = server.wait()
        raise store.StoreError(
            f"Expected MLflow's server to run until Ctrl-C, but it ended with code {code}."
        )
    return 0


def expect_login() -> None:
    """Raise `StoreError` where MLflow would not find our login: never serve without it."""
    if APP not in importlib.metadata.entry_points(group="mlflow.app").names:
        raise store.StoreError(
            f"Expected an installation with the login of the page (entry point {APP}), got an older"
            " one: install fl_platform again (in a clone: make install)."
        )


@contextmanager
def _group(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The running command; at the end of the block it and its children are stopped."""
    before = {number: signal.signal(number, _interrupt) for number in _ENDS}
    server = subprocess.Popen(command, env=environment, cwd=SAFE_FOLDER, start_new_session=True)
    try:
        yield server
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
                server.wait(timeout=5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def expect_free(port: int) -> None:
    """Raise `PortError` if the port is invalid or in use."""
    if not 0 < port < 65536:
        raise PortError(f"Expected a port from 1 to 65535, got {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortError(
                f"Expected port {port} to be free, got: {error.strerror}. Choose another with"
                " --port."
            ) from error


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
