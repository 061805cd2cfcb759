"""Runs as tidy frames, equal from MLflow and from run folders."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.level import ABSENT
from fl_platform.tracking.mlflow.ui_view import SHOWN
from fl_platform.tracking.records import RecordError, skip
from fl_platform.tracking.run_folder import RunFolder, all_runs, runs_root

if TYPE_CHECKING:
    import pandas as pd

Source = Literal["auto", "mlflow", "folders"]

_TEXT = (
    *("run_id", "name", "task", "attack", "attack_label", "defense", "defense_label", "mixing"),
    *("preset", "config_hash", "commit", "dirty", "code_fingerprint", "data_digest", "device"),
    *("status", "experiment", "parent_run_id"),
)
# column -> parameter with its value if there is no tag
_NUMBERS = {
    "seed": "seed",
    "rounds": "rounds",
    "clients": "task.clients",
    "byzantine_fraction": "byzantine.fraction",
    "beta": "task.beta",
    "nu": "attack.nu",
}
_RESULTS = {
    "accuracy_last": "result/accuracy_last",
    "accuracy_tail": "result/accuracy_tail",
    "accuracy_best": "result/accuracy_best",
    "seconds": "time/seconds",
}
COLUMNS = (
    *("run_id", "name", "task", "attack", "attack_label", "defense", "defense_label", "mixing"),
    *("preset", "seed", "config_hash", "commit", "dirty", "code_fingerprint", "data_digest"),
    *("device", "status", "rounds", "clients", "byzantine_fraction", "beta", "nu"),
    *("accuracy_last", "accuracy_tail", "accuracy_best", "seconds", "experiment"),
    *("parent_run_id", "setting", "parameters", "alarms"),
)
# Parameters that are in other columns or in labels.
_TOLD = ("seed", "rounds", "preset", "byzantine.fraction", "task.beta", "task.clients")
_GROUPS = ("attack", "defense", "mixing", "observers")
_SETTING = ("task", "preset", "mixing", "beta", "byzantine_fraction", "clients", "rounds")
CURVE_COLUMNS = ("run_id", "key", "step", "value")


@dataclass
class _Run:
    tags: dict[str, str]
    params: Mapping[str, Any]
    last: dict[str, float]
    logged: frozenset[str]
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    alarms: int = 0


def runs(home: Path | str, source: Source = "auto") -> pd.DataFrame:
    """One row per run with :data:`COLUMNS`; accuracies in percent, NaN where there is none.

    Runs that ``--restart`` replaced are left out. ``setting`` is a digest of all parameters except
    the seed; ``parameters`` has those that are in no other column and in no label; ``alarms`` is
    the number of values that differed when a round was repeated. An unreadable folder is skipped
    with one line.

    Args:
        source: ``folders`` reads this machine's run folders, ``mlflow`` the store; ``auto`` is
            the store if ``MLFLOW_TRACKING_URI`` is set or there is no run folder.
    """
    import pandas as pd

    rows = [_row(run) for run in _all(home, source, ())]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [*_NUMBERS, *_RESULTS]
    types = dict.fromkeys(_TEXT, "object") | dict.fromkeys(numbers, "float64")
    frame = frame.astype(types | {"alarms": "int64"})
    return frame.sort_values(["name", "run_id"], ignore_index=True)


def variants(frame: pd.DataFrame) -> pd.Series[str]:
    """The parameters in which runs differ that are equal in all other columns of a setting.

    ``task.state=all`` if the runs of one task, preset, mixing and so on differ in that parameter;
    empty if they differ in none.
    """
    import pandas as pd

    said = pd.Series("", index=frame.index, dtype="object")
    for _, group in frame.groupby(list(_SETTING), dropna=False):
        parameter_sets = group["parameters"]
        names = sorted({name for parameters in parameter_sets for name in parameters})
        differing = [n for n in names if len({p.get(n) for p in parameter_sets}) > 1]
        for index, parameters in parameter_sets.items():
            said[index] = ", ".join(f"{n}={parameters.get(n, ABSENT)}" for n in differing)
    return said


def curves(
    home: Path | str, keys: Sequence[str] = ("test/accuracy",), source: Source = "auto"
) -> pd.DataFrame:
    """The metrics ``keys`` of every run, one row per step; infinities become NaN."""
    import pandas as pd

    rows = [
        (run.tags["run_id"], key, step, value)
        for run in _all(home, source, keys)
        for key in keys
        for step, value in run.curves.get(key, [])
    ]
    frame = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    frame = frame.astype({"run_id": "object", "key": "object", "step": "int64", "value": "float64"})
    return frame.sort_values(["run_id", "key", "step"], ignore_index=True)


def metric_names(home: Path | str, source: Source = "auto") -> list[str]:
    """The names of all metrics that a run has logged, in order."""
    return sorted({name for run in _all(home, source, ()) for name in run.logged})


def _row(run: _Run) -> dict[str, Any]:
    row: dict[str, Any] = {column: run.tags.get(column, "") for column in _TEXT}
    for column, param in _NUMBERS.items():
        row[column] = _number(run.tags.get(column, run.params.get(param)))
    if run.params.get("task.partition") != "dirichlet":
        row["beta"] = math.nan  # present in the config with other partitions, without effect
    row["setting"] = _setting(run.params)
    row["parameters"] = {
        key: str(value)
        for key, value in run.params.items()
        if key not in _TOLD and key.partition(".")[0] not in _GROUPS and value != ABSENT
    }
    for column, key in _RESULTS.items():
        row[column] = _finite(run.last.get(key, math.nan))
    row["alarms"] = run.alarms
    return row


def _setting(params: Mapping[str, Any]) -> str:
    """A digest of all parameters except the seed, equal for runs that may share a mean.

    Observers are left out, since they do not change the training.
    """
    settings = [
        f"{key}={value}"
        for key, value in sorted(params.items())
        if key != "seed" and not key.startswith("observers.") and value != ABSENT
    ]
    return hashlib.sha256("\n".join(settings).encode()).hexdigest()[:16] if settings else ""


def _all(home: Path | str, source: Source, keys: Sequence[str]) -> Iterable[_Run]:
    if source not in ("auto", "mlflow", "folders"):
        raise ValueError(f"Expected source auto, mlflow or folders, got {source!r}.")
    if source == "auto":
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI") or not runs_root(home).exists()
        source = "mlflow" if elsewhere and store.has_mlflow() else "folders"
    found = _from_folders(home, keys) if source == "folders" else _from_mlflow(home, keys)
    return (run for run in found if run.tags.get("superseded") != "true")


def _from_folders(home: Path | str, keys: Sequence[str]) -> Iterator[_Run]:
    for folder in all_runs(home):
        if folder.aside or not folder.journal.exists():
            continue
        try:
            yield _from_folder(folder, keys)
        except RecordError as error:
            skip(error)
        except OSError as error:
            skip(RecordError(folder.path, f"{folder.path}: {error.strerror}."))


def _from_folder(folder: RunFolder, keys: Sequence[str]) -> _Run:
    described = folder.describe() or {}
    history = folder.history(described)
    own = ("run_id", "name", "config_hash", "experiment")
    own_tags = {key: described[key] for key in own}
    own_tags["parent_run_id"] = described.get("parent_run_id", "")
    tags = {**history.tags, **own_tags, "status": history.status}
    last = {k: history.curve(k)[-1][1] for k in _RESULTS.values() if k in history.metrics}
    wanted = {k: [(s, _finite(v)) for s, v in history.curve(k)] for k in keys}
    logged = frozenset(history.metrics)
    return _Run(tags, history.params, last, logged, wanted, len(history.alarms))


def _from_mlflow(home: Path | str, keys: Sequence[str]) -> Iterator[_Run]:
    from fl_platform.tracking.mlflow.mlflow_exporter import RUN_TAG

    if not store.exists(home):  # reading does not create a store
        return
    client, token = store.connect(home), None
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    while True:
        page = client.search_runs(list(experiments), f"tags.{RUN_TAG} != ''", page_token=token)
        for run in page:
            tags = {
                "status": run.info.status,
                "parent_run_id": "",
                **run.data.tags,
                "run_id": run.data.tags[RUN_TAG],
                "name": run.info.run_name,
                "experiment": experiments[run.info.experiment_id],
            }
            points = {k: client.get_metric_history(run.info.run_id, k) for k in keys}
            wanted = {k: sorted((p.step, _finite(p.value)) for p in points[k]) for k in keys}
            alarms = int("alarm" in run.data.tags)  # the store keeps only the newest
            params = {k: v for k, v in run.data.params.items() if k not in SHOWN}
            last = run.data.metrics
            yield _Run(tags, params, last, frozenset(last), wanted, alarms)
        token = page.token
        if not token:
            return


def _number(value: Any) -> float:
    try:
        return _finite(float(value))
    except (TypeError, ValueError):
        return math.nan


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
