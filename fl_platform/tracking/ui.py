"""MLflow's page over our store: on loopback, with one worker and nothing it does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fl_platform.tracking import store
from fl_platform.tracking.folder import all_runs


def ui_command(home: Path | str, port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """The server's command line and environment.

    Job execution is off (it has had holes that let strangers run code), models are not
    unpickled, and only requests for this machine's own name are answered.
    """
    if not 0 < port < 65536:
        raise ValueError(f"Expected a port from 1 to 65535, got {port}.")
    uri = store.tracking_uri(home)
    if store.database(uri) is None and "://" in uri and uri.startswith("http"):
        raise store.StoreError(
            f"Expected a store on this machine, got the server {store.safe_uri(uri)}: open that"
            " address in a browser instead."
        )
    artifacts = store.artifact_folder(uri) or store.store_folder(home) / "artifacts"
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri),
        *("--default-artifact-root", artifacts.as_uri()),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port}"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return command, environment


def ui_address(home: Path | str, port: int = 5000) -> str:
    """The page that shows the newest run's experiment, past MLflow's overview."""
    newest = max(all_runs(home), key=lambda run: run.identity_file.stat().st_mtime, default=None)
    base = f"http://127.0.0.1:{port}/#/experiments"
    if newest is None:
        return base
    client = store.connect(home)
    experiment = (newest.describe() or {}).get("experiment", "Default")
    number = store.experiment_id(client, store.tracking_uri(home), experiment)
    return f"{base}/{number}/runs?workflowType=machine_learning&compareRunsMode=CHART"


def open_ui(home: Path | str, port: int = 5000, announce: Callable[[str], object] = print) -> int:
    """Serve the page until interrupted; returns the server's exit code."""
    command, environment = ui_command(home, port)
    store.connect(home)
    announce(ui_address(home, port))
    server = subprocess.Popen(command, env=environment)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:  # however we leave, no server stays behind
        server.terminate()
        server.wait()
