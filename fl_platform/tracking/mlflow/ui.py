"""MLflow's page for the store: on loopback, with one worker and without optional services."""

from __future__ import annotations

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
from fl_platform.tracking.run_folder import RunFolder, all_runs

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PEOPLE = range(1000, 60000)  # user ids of persons on Linux
NAME = "fl-platform.localhost"  # this machine; at 127.0.0.1 MLflow opens its assistant first
SAFE_FOLDER = "/"  # uvicorn imports from its working directory; only root can write to this one
ELSEWHERE = f"If the browser does not find {NAME}, use 127.0.0.1 instead."
SHARED = (
    "While it runs, every user of this machine can read and delete all that it shows: the page has"
    " no login."
)


class PortError(OSError):
    """A port that cannot be used."""


def ui_command(home: Path | str, port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """The server's command line and environment; run it in :data:`SAFE_FOLDER`.

    The address of the store, which may contain a password, is in the environment: other users of
    the machine can read a command line. Job execution is off (it had faults that allowed others to
    run code), models are not unpickled, and only requests to this machine's own name are accepted.

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
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port},{NAME}:{port}"),
        *("--cors-allowed-origins", f"http://{NAME}:{port}"),
        *("--uvicorn-opts", "--log-level=warning"),
    ]
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",  # no import from the working directory
        "MLFLOW_BACKEND_STORE_URI": uri if file is None else store.sqlite_uri(file),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return command, environment


def ui_address(home: Path | str, port: int = 5000) -> str:
    """The page of the newest run's experiment, in the saved view, not MLflow's overview.

    A parent run is used only without trained runs, which the view shows.
    """
    newest = max(all_runs(home), key=_age, default=None)
    base = f"http://{NAME}:{port}/#/experiments"
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
    command, environment = ui_command(home, port)
    expect_free(port)
    address = ui_address(home, port)
    with _group(command, environment) as server:
        announce(f"MLflow takes some seconds to start. {SHARED}")
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


def refuse_shared_machine(*, allowed: bool) -> None:
    """Refuse to serve on a machine with other active users, unless that is ``allowed``.

    Raises:
        PortError: other users; the message names them and the option.
    """
    others = [] if allowed else other_users()
    if others:
        listed = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        raise PortError(
            f"Expected no other user on this machine, got {listed}. {SHARED} Serve it from a"
            " machine of your own, or add --shared-machine."
        )


def other_users() -> list[str]:
    """Names of other users who are logged in or have a process on this machine."""
    import psutil

    own, found = os.getuid(), set()
    for process in psutil.process_iter(["uids", "username"]):
        uids = process.info["uids"]
        if uids is not None and uids.real != own and uids.real in PEOPLE:
            found.add(str(process.info["username"]))
    return sorted(found)


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
