"""Optuna's own page over the studies, on this machine alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fl_platform.studies.storage import database
from fl_platform.tracking.store import StoreError


def dashboard_command(home: Path, port: int, url: str | None = None) -> list[str]:
    """The server's command line.

    Raises:
        StoreError: the extra ``tune`` is not installed, or there are no studies yet.
        ValueError: no port.
    """
    if not 0 < port < 65536:
        raise ValueError(f"Expected a port from 1 to 65535, got {port}.")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise StoreError(
            "Expected optuna-dashboard to be installed, found none:"
            " pip install 'fl_platform[tune]'. `fl-platform tune --show STUDY` needs nothing more."
        )
    file = database(home)
    if url is None and not file.exists():
        raise StoreError(f"Expected studies in {file}, found none: `fl-platform tune` makes one.")
    program = "from optuna_dashboard._cli import main; main()"
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-c", program, url or f"sqlite:///{file}", *address]


def open_dashboard(
    home: Path, port: int, announce: Callable[[str], object] = print, url: str | None = None
) -> int:
    """Serve the page until interrupted; returns the server's exit code."""
    command = dashboard_command(home, port, url)
    announce(f"http://127.0.0.1:{port}/")
    server = subprocess.Popen(command)
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0
