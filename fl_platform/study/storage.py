"""Where studies are kept: one SQLite file for a machine, PostgreSQL by URL for several."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from fl_platform.core.text import reason
from fl_platform.tracking.lock import alone
from fl_platform.tracking.mlflow.store import StoreError, safe_uri, sqlite_uri, store_folder

HEARTBEAT = 10  # seconds between two signs of life of a running trial
GRACE = 60  # seconds without one until somebody else takes the trial over
RETRIES = 3
PATIENCE = 60.0  # seconds to wait for another process that writes


def database(home: Path) -> Path:
    """The studies of ``home``; apart from MLflow's, which has other writers."""
    return store_folder(home) / "optuna.db"


def open_storage(
    home: Path, url: str | None = None, *, heartbeat: int = HEARTBEAT, grace: int = GRACE
) -> RDBStorage:
    """The storage at ``url``, else the file of ``home``, which is made where it is missing.

    A trial whose worker is silent for ``grace`` seconds is failed by whoever asks for a trial next
    and queued again, at most three times. What it reported is not inherited: its runs continue
    from their own checkpoints, or are finished, and say it again.

    Raises:
        StoreError: it cannot be opened; the address is told without its password.
    """
    quiet()
    callback = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
    try:
        if url is None:
            file = database(home)
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with alone(file.with_name(".optuna.lock")):
                if not file.exists():
                    _create(file)
            url = sqlite_uri(file)
        sqlite = url.startswith("sqlite")
        engine = {"connect_args": {"timeout": PATIENCE}} if sqlite else {"pool_pre_ping": True}
        return RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=heartbeat,
            grace_period=grace,
            heartbeat_stale_trial_callback=callback,
        )
    except Exception as error:
        where = safe_uri(url or "mlruns/optuna.db")
        raise StoreError(
            f"Cannot open the studies in {where}: {type(error).__name__}. Expected a database that"
            " exists and answers; PostgreSQL also needs the extra 'postgres'."
        ) from error


@contextmanager
def faults_of_storage(storage: RDBStorage, name: str) -> Iterator[None]:
    """Tell in one line what the storage of the study ``name`` does in the middle of the work.

    Raises:
        StoreError: it does not answer, or the study was deleted. Runs are kept; the same command
            continues.
    """
    kept = "Nothing is lost: the runs are kept, and the same command continues the study."
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # Optuna raises others while it handles these
        fault = next((e for e in _chain(error) if isinstance(e, _FAULTS)), None)
        if fault is not None:
            cause = reason(fault.__cause__ or fault)
            told = f"The storage of study {name} does not answer: {cause}. {kept}"
        elif isinstance(error, _GONE) and _deleted(storage, name):
            told = f"Study {name} was deleted while this worker ran. {kept}"
        else:
            raise
        raise StoreError(told) from error


_FAULTS = (optuna.exceptions.StorageInternalError, SQLAlchemyError)
_GONE = (KeyError, UnboundLocalError, AssertionError)  # Optuna's, where rows are gone


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _deleted(storage: RDBStorage, name: str) -> bool:
    try:
        return name not in optuna.get_all_study_names(storage)
    except Exception:  # then nothing is known
        return False


def quiet() -> None:
    """Without Optuna's log of every trial, which the worker tells in its own words."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def recover(study: optuna.Study) -> None:
    """Fail the trials whose worker died, and queue them again."""
    optuna.storages.fail_stale_trials(study)
    # One that was killed between being asked for and its first heartbeat is never called stale.
    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, RDBStorage):
        return
    long_ago = datetime.now() - timedelta(seconds=storage.grace_period or GRACE)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        started = trial.datetime_start
        if started is None or started > long_ago or _has_heartbeat(storage, trial):
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def give_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again that its worker had to leave; not counted as a retry, nobody failed."""
    attributes = {"failed_trial": trial.number, "retry_history": [], **trial.system_attrs}
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
    """The number under which the trial was first begun."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _has_heartbeat(storage: RDBStorage, trial: FrozenTrial) -> bool:
    from sqlalchemy import text

    query = text("SELECT COUNT(*) FROM trial_heartbeats WHERE trial_id = :id")
    with storage.engine.connect() as connection:
        return bool(connection.execute(query, {"id": trial._trial_id}).scalar())


def _create(file: Path) -> None:
    """Make the database under another name first: other processes never see half a schema."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    storage = RDBStorage(sqlite_uri(fresh))
    storage.remove_session()
    storage.engine.dispose()
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    fresh.chmod(0o600)
    fresh.replace(file)
