"""optuna-dashboard over the studies, served on the loopback interface."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from fl_platform.study.storage import artifact_folder, database, open_storage
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.mlflow.ui import PRIVATE, expect_free
from fl_platform.tracking.mlflow.ui_login import Login, new_token, open_path

Application = Callable[..., Iterable[bytes]]


def open_dashboard(
    home: Path, port: int, url: str | None = None, announce: Callable[[str], object] = print
) -> None:
    """Serve the dashboard until interrupted.

    Args:
        home: workspace.
        port: TCP port.
        url: database URL of the studies. Default: the file in ``home``.
        announce: receives the address.

    Raises:
        PortError: the port is in use or invalid.
        StoreError: the extra ``tune`` is not installed, or no study exists.
    """
    token = new_token()
    with dashboard_server(home, port, url, token) as server:
        announce(f"{PRIVATE}\nhttp://127.0.0.1:{port}{open_path(token)}\nPress Ctrl-C to stop.")
        server.serve_forever()


def dashboard_server(home: Path, port: int, url: str | None, token: str) -> WSGIServer:
    """Create the server, bound to the loopback interface; raises as `open_dashboard`.

    Args:
        token: of the login.
    """
    expect_free(port)
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise StoreError(
            "Expected optuna-dashboard to be installed, found none:"
            " pip install 'fl_platform[tune]'. `fl-platform tune --show STUDY` works without it."
        )
    file = database(home)
    if url is None and not file.exists():
        raise StoreError(
            f"Expected studies in {file}, found none. Create one with `fl-platform tune`."
        )
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    storage = open_storage(home, url)
    folder = artifact_folder(home, storage)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    page = wsgi(storage, FileSystemArtifactStore(folder))
    application = for_this_user(page, port, Login(token, "/dashboard/"))
    return make_server("127.0.0.1", port, application, _Threads, _Silent)


def for_this_user(application: Application, port: int, login: Login) -> Application:
    """Refuse requests without login, or with another host name (DNS rebinding)."""
    names = {f"127.0.0.1:{port}", f"localhost:{port}"}

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_HOST") not in names:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [f"Expected a request for {' or '.join(sorted(names))}.\n".encode()]
        headers = {
            name: environ.get(f"HTTP_{name.upper()}", "") for name in ("cookie", "authorization")
        }
        answer = login.answer(environ.get("PATH_INFO", ""), headers)
        if answer is None:
            return application(environ, start_response)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
        return [answer.body]

    return guarded


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, so that the address stays visible."""
