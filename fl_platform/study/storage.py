"""Storage of studies: one SQLite file per workspace, or a database, journal or proxy by URL."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from fl_platform.config import ConfigError
from fl_platform.core.outside import OutsideError
from fl_platform.core.text import reason
from fl_platform.study.shared_storage import (
    GRACE,
    HEARTBEAT,
    JournalStudies,
    Retry,
    last_seen,
    open_grpc,
    open_journal,
    without_heartbeat,
)
from fl_platform.tracking.lock import alone
from fl_platform.tracking.mlflow.store import StoreError, safe_uri, sqlite_uri, store_folder

TIMEOUT = 60.0  # seconds to wait for another process that writes


def database(home: Path) -> Path:
    """SQLite file of the studies of ``home``; separate from MLflow's database."""
    return store_folder(home) / "optuna.db"


def artifact_folder(home: Path, storage: BaseStorage) -> Path:
    """Folder of the studies' Optuna artifacts: beside a journal file, else in ``home``."""
    if isinstance(storage, JournalStudies):
        return storage.file.with_name(f"{storage.file.name}.artifacts")
    return store_folder(home) / "optuna-artifacts"


def open_storage(
    home: Path, url: str | None = None, *, heartbeat: int = HEARTBEAT, grace: int = GRACE
) -> BaseStorage:
    """Open the storage at ``url``. Default: the SQLite file of ``home``, created if missing.

    A trial without a heartbeat for ``grace`` seconds is marked as failed at the next request of a
    trial and queued again, at most `shared_storage.RETRIES` times. Its runs continue from their
    checkpoints, and it reports its intermediate values again.

    Args:
        url: ``sqlite:///FILE``, ``postgresql+psycopg://...``, ``journal:///FILE`` or
            ``grpc://HOST:PORT``.

    Raises:
        ConfigError: a database in memory, which no later call could continue.
        StoreError: the storage cannot be opened; the message hides the password.
    """
    silence_optuna()
    scheme, _, place = (url or "").partition("://")
    if scheme.startswith("sqlite") and place.partition("?")[0] in ("", "/", "/:memory:"):
        raise ConfigError(
            f"--storage: expected a file, as sqlite:///FILE, got {url}, a database in memory, which"
            " ends with this process."
        )
    try:
        if url is not None and scheme in ("journal", "grpc"):
            shared = open_journal(url) if scheme == "journal" else open_grpc(url)
            shared.interval, shared.grace_period = heartbeat, grace
            return shared
        return _open_database(url or _own_database(home), heartbeat, grace)
    except StoreError:
        raise
    except Exception as error:
        where = safe_uri(url or "mlruns/optuna.db")
        raise StoreError(
            f"Cannot open the studies in {where}: {_cause(error)}. {_hint(url)}"
        ) from error


def _own_database(home: Path) -> str:
    file = database(home)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(file.with_name(".optuna.lock")):
        if not file.exists():
            _create(file)
    return sqlite_uri(file)


def _open_database(url: str, heartbeat: int, grace: int) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    return RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": TIMEOUT}} if sqlite else {"pool_pre_ping": True},
        heartbeat_interval=heartbeat,
        grace_period=grace,
        heartbeat_stale_trial_callback=Retry(),
    )


def _cause(error: BaseException) -> str:
    """Message of a file error, else only the type: a URL may hold a password."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.strerror:
            return f"{each.strerror}: {each.filename}" if each.filename else each.strerror
        if isinstance(each, ModuleNotFoundError):
            return f"the package {each.name} is not installed"
        ours = isinstance(each, optuna.exceptions.StorageInternalError) and not each.__cause__
        if ours or isinstance(each, sqlite3.Error | OutsideError):
            return str(each).rstrip(".")
    return type(error).__name__


def _hint(url: str | None) -> str:
    scheme = (url or "sqlite").partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return "Expected a writable folder and a readable SQLite file; choose one with --home."
    if scheme == "journal":
        return "Expected a file in a folder that exists and can be written."
    if scheme == "postgresql":
        return "Expected a reachable database; PostgreSQL requires the extra 'postgres'."
    return (
        "Expected sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE (extra 'postgres'),"
        " journal:///FILE or grpc://HOST:PORT (extra 'grpc')."
    )


@contextmanager
def storage_errors(storage: BaseStorage, name: str) -> Iterator[None]:
    """Turn failures of the storage of study ``name`` into one-line errors.

    Raises:
        StoreError: the storage does not answer, or the study was deleted.
    """
    kept = "All runs are kept; the same command continues the study."
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # Optuna raises other errors while it handles these
        fault = next((e for e in _chain(error) if isinstance(e, _faults())), None)
        if fault is not None:
            cause = _details(fault) or reason(fault.__cause__ or fault)
            text = f"The storage of study {name} does not answer: {cause}. {kept}"
        elif isinstance(error, _GONE) and _deleted(storage, name):
            text = f"Study {name} was deleted while this worker ran. {kept}"
        else:
            raise
        raise StoreError(text) from error


def _faults() -> tuple[type[BaseException], ...]:
    grpc = sys.modules.get("grpc")
    remote = () if grpc is None else (grpc.RpcError,)
    return (optuna.exceptions.StorageInternalError, SQLAlchemyError, *remote)


def _details(error: BaseException) -> str:
    """What a gRPC server or channel reports, in one line; empty for other errors."""
    details = getattr(error, "details", None)
    return str(details()).partition("\n")[0][:300] if callable(details) else ""


_GONE = (KeyError, UnboundLocalError, AssertionError)  # raised by Optuna when rows are missing


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _deleted(storage: BaseStorage, name: str) -> bool:
    try:
        return name not in optuna.get_all_study_names(storage)
    except Exception:  # the storage does not answer
        return False


def silence_optuna() -> None:
    """Turn off Optuna's log; the worker prints its own line per trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def recover(study: optuna.Study) -> None:
    """Mark trials of ended workers as failed and queue them again."""
    optuna.storages.fail_stale_trials(study)
    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, RDBStorage):  # the other storages count from the start
        return
    # Optuna never marks a trial without a heartbeat in the database's own table as stale. It may be
    # that of a worker behind a proxy.
    grace = storage.grace_period or GRACE
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        silent = trial.datetime_start is not None and time.time() - last_seen(trial) > grace
        if not silent or _has_heartbeat(storage, trial):
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        Retry()(study, trial)


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the trial of a stopped worker again; it does not count as a retry."""
    attributes = {"failed_trial": trial.number, "retry_history": [], **without_heartbeat(trial)}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"given_back_by": trial.number},
            system_attrs=attributes,
        )
    )


def origin(trial: FrozenTrial) -> int:
    """Number of the trial's first attempt."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _has_heartbeat(storage: RDBStorage, trial: FrozenTrial) -> bool:
    from sqlalchemy import text

    query = text("SELECT COUNT(*) FROM trial_heartbeats WHERE trial_id = :id")
    with storage.engine.connect() as connection:
        return bool(connection.execute(query, {"id": trial._trial_id}).scalar())


def _create(file: Path) -> None:
    """Create the database under another name first; other processes never see a partial schema."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    storage = RDBStorage(sqlite_uri(fresh))
    storage.remove_session()
    storage.engine.dispose()
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    fresh.chmod(0o600)
    fresh.replace(file)
