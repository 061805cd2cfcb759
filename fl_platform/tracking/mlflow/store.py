"""The MLflow store: its address, creation and connection. No other code opens MLflow."""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from fl_platform.core.text import reason, without_secrets
from fl_platform.tracking.atomic import remove_orphans, sync_file, sync_folder
from fl_platform.tracking.lock import alone
from fl_platform.tracking.mlflow import ui_view as page
from fl_platform.tracking.mlflow.names import clean

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

# A blocked server delays one call by this time, not by MLflow's own four minutes. MLflow repeats no
# call: a repeated creation could create a run twice. The uploader searches first, then repeats.
QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SQLITE = "sqlite:///"


class StoreError(RuntimeError):
    """The store cannot be opened; run folders are complete and can be synced later."""


def has_mlflow() -> bool:
    """True if MLflow is installed; does not import it."""
    return importlib.util.find_spec("mlflow") is not None


def store_folder(home: Path | str) -> Path:
    """``<home>/mlruns``: database, artifacts and run folders."""
    return Path(home).absolute() / "mlruns"


def tracking_uri(home: Path | str) -> str:
    """``MLFLOW_TRACKING_URI`` if set, else the absolute sqlite URI of ``home``'s store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(store_folder(home) / "mlflow.db")


def sqlite_uri(file: Path) -> str:
    """The address of a database file, with special characters escaped.

    >>> sqlite_uri(Path("/what? {x}/mlflow.db"))
    'sqlite:////what%3F %7Bx%7D/mlflow.db'
    """
    return _SQLITE + re.sub(r"[%?#{}]", lambda found: quote(found[0]), str(file))


def database(uri: str) -> Path | None:
    """The file of a sqlite URI, or None for a server or another database."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])).absolute()


def exists(home: Path | str) -> bool:
    """True if there is a store to read: a server, or an existing database."""
    file = database(tracking_uri(home))
    return file is None or file.exists()


def artifact_folder(uri: str) -> Path | None:
    """The folder of artifacts of a local store; a server has its own."""
    file = database(uri)
    return None if file is None else file.parent / "artifacts"


def connect(home: Path | str) -> MlflowClient:
    """A client of the store, which is created first if it is missing.

    The import of MLflow takes some seconds, so only the uploader and commands that read call this.
    If several processes start without a store, one creates it under a lock and the others wait.

    Raises:
        StoreError: MLflow is missing, or the database cannot be opened. It is never replaced.
    """
    uri = tracking_uri(home)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    try:
        from mlflow.tracking.client import MlflowClient
    except ImportError as error:
        raise StoreError(
            f"Expected MLflow to be installed, got: {error}. Use runtime.tracking=journal and"
            " `fl-platform runs sync` where it is."
        ) from error
    file = database(uri)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if file.parent == store_folder(home):
                file.parent.chmod(0o700)  # a checkout may make it readable for all
            with alone(file.parent / ".store.lock"):
                if not file.exists() or file.stat().st_size == 0:
                    _create(file)
                _use_write_ahead_log(file)
        client = MlflowClient(uri)
        if file is not None:
            client.search_experiments(max_results=1)  # opens the database
            _remove_escaped_folder(uri)
        return client
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"Cannot open the MLflow store {safe_uri(uri)}: {reason(error)}. Nothing is lost:"
            " restore or move the store, then run `fl-platform runs sync`."
        ) from error


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The id of experiment ``name``, which is made where it is missing."""
    name = clean(name)
    found = client.get_experiment_by_name(name)
    if found is None:
        place = artifact_folder(uri)
        location = None if place is None else place.as_uri()
        try:
            return client.create_experiment(name, location, page.experiment_tags())
        except Exception:  # created by another process, or the name is not allowed
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise StoreError(  # the remedy first: the end of a long message is cut off
            f"Expected experiment {name!r} to be active, got a deleted one: restore it on the page"
            f" (Experiments, Deleted) or by `mlflow experiments restore -x {found.experiment_id}`"
            f" with MLFLOW_TRACKING_URI={safe_uri(uri)}."
        )
    refuse_moved(uri, name, found.artifact_location)
    return found.experiment_id


def refuse_moved(uri: str, name: str, location: str) -> None:
    """Refuse an experiment of a home's own store whose files go to another folder.

    MLflow stores absolute paths: in a home that was moved or copied they name the old folder.

    Raises:
        StoreError: the message contains the remedy.
    """
    file, parts = database(uri), urlsplit(location)
    if file is None or os.environ.get("MLFLOW_TRACKING_URI") or parts.scheme not in ("", "file"):
        return
    place, expected = Path(unquote(parts.path)).resolve(), (file.parent / "artifacts").resolve()
    if not place.is_relative_to(expected):
        raise StoreError(
            f"This home was moved or copied: move {file.parent.name}/{file.name} (and -wal, -shm)"
            " out of it, then run `fl-platform runs sync`, which writes every run again. Expected"
            f" the files of experiment {name!r} below {expected}, got {place}."
        )


def safe_uri(uri: str) -> str:
    """``uri`` without user, password and query."""
    return without_secrets(uri)


def _create(file: Path) -> None:
    """Create the database under another name first: other processes never see a partial schema.

    Only the renamed file must be durable, not each of the dozens of migrations.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")

    remove_orphans(file.parent)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    artifacts = file.parent / "artifacts"
    event.listen(Engine, "connect", hurry)
    try:
        store = SqlAlchemyStore(sqlite_uri(fresh), artifacts.as_uri())
        store.engine.dispose()
    finally:
        event.remove(Engine, "connect", hurry)
    _use_write_ahead_log(fresh)
    fresh.chmod(0o600)
    sync_file(fresh)
    artifacts.mkdir(exist_ok=True, mode=0o700)
    fresh.replace(file)
    sync_folder(file.parent)


def _use_write_ahead_log(file: Path) -> None:
    """Set write-ahead logging: readers and one writer do not block each other."""
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")


def _remove_escaped_folder(uri: str) -> None:
    """Remove the empty folders that MLflow creates when it treats the address as a path."""
    folder = Path(uri.removeprefix(_SQLITE).partition("?")[0]).parent
    for made in (folder, *folder.parents):
        if unquote(str(made)) == str(made):
            return
        with suppress(OSError):
            made.rmdir()
