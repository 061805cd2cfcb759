from __future__ import annotations

import ast
import importlib
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_platform.tracking import frames as table
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.journal import JournalError, read
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.sync import reap, sync
from fl_platform.tracking.run_folder import IdentityMismatch, all_runs

HASH = "0123456789abcdef" * 4


def _open(home: Path, **changes: Any) -> ActiveRun:
    settings: dict[str, Any] = {
        "name": "none vs mean, digits s0",
        "config_hash": HASH,
        "experiment": "digits",
        "conditions": {"device": "cpu"},
        "tracking": "journal",
    }
    return ActiveRun.open(home, **(settings | changes))


def _train(home: Path, rounds: int, die_after: int = -1) -> dict[str, Any] | None:
    """A run loop in small: the state is a number that each round changes."""
    with _open(home) as record:
        if record.result is not None:
            return record.result
        state = {"round": 0, "w": torch.zeros(3)}
        if record.checkpoint.exists():
            state = record.checkpoint.load()
        record.start(params={"task": {"clients": 5}, "seed": 0}, tags={"task": "digits"})
        for t in range(state["round"], rounds):
            state = {"round": t + 1, "w": state["w"] + 0.1 * (t + 1)}
            record.log(t, {"test/accuracy": float(state["w"][0]) / 10, "time/round": os.getpid()})
            if t % 2:
                record.commit(lambda state=state: record.checkpoint.save(state))
            if t == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
        return record.finish("FINISHED", {"rounds": rounds, "seconds": 1.0})


def _killed(home: Path, rounds: int, die_after: int) -> None:
    child = os.fork()
    if child == 0:
        _train(home, rounds, die_after)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_a_killed_run_goes_on_to_the_same_metrics_without_an_alarm(tmp_path: Path) -> None:
    through = _train(tmp_path / "through", rounds=8)
    for die_after in (2, 4, 5):
        _killed(tmp_path / "killed", 8, die_after)
    resumed = _train(tmp_path / "killed", rounds=8)
    assert through is not None
    assert resumed is not None
    assert {**resumed, "run_id": ""} == {**through, "run_id": ""}
    histories = [read(next(all_runs(tmp_path / name)).journal) for name in ("through", "killed")]
    for key in ("test/accuracy", "result/accuracy_tail"):
        assert histories[0].curve(key) == histories[1].curve(key)
    assert not histories[1].alarms
    assert histories[1].status == "FINISHED"


def test_a_finished_run_gives_its_stored_result(tmp_path: Path) -> None:
    first = _train(tmp_path, rounds=3)
    assert _train(tmp_path, rounds=3) == first
    assert first is not None
    assert first["accuracy_last"] == pytest.approx(6.0)
    assert first["accuracy_tail"] == pytest.approx((1 + 3 + 6) / 3)


def test_an_exception_marks_the_run_failed_and_a_signal_killed(tmp_path: Path) -> None:
    def leave(error: BaseException) -> None:
        with _open(tmp_path) as record:
            record.start(params={}, tags={})
            raise error

    for error, status in ((ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        with pytest.raises(type(error)):
            leave(error)
        with _open(tmp_path) as record:
            assert record.journal.history.status == status
            assert record.result is None


def test_a_diverged_run_is_over_and_has_no_accuracy(tmp_path: Path) -> None:
    with _open(tmp_path) as record:
        record.start(params={}, tags={})
        record.log(0, {"test/accuracy": 0.1, "test/loss": math.nan})
        record.finish("DIVERGED", {"loss": math.nan}, reason="loss is NaN in round 0")
    with _open(tmp_path) as record:
        assert record.result is not None
        assert record.result["accuracy_best"] is None
        assert record.result["loss"] is None
        json.dumps(record.result, allow_nan=False)


def test_a_second_process_is_refused_and_a_fresh_start_sets_the_old_run_aside(
    tmp_path: Path,
) -> None:
    with _open(tmp_path) as record:
        with pytest.raises(RunOwned):
            _open(tmp_path)
        first = record.run_id
    with pytest.raises(IdentityMismatch):
        _open(tmp_path, conditions={"device": "cuda"})
    with _open(tmp_path, conditions={"device": "cuda"}, fresh=True) as record:
        assert record.run_id != first
    assert len(list(all_runs(tmp_path))) == 2


def test_reaping_marks_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    _killed(tmp_path, 8, 2)
    with _open(tmp_path, config_hash="0" * 64) as broken:
        broken.finish()
    broken.folder.journal.write_text("no record\n{}\n")
    with _open(tmp_path, config_hash=HASH[::-1]) as living:
        living.start(params={}, tags={})
        reaped = []
        with pytest.raises(JournalError, match="0000"):  # told, but the others come first
            reaped.extend(reap(tmp_path))
        assert [folder.path.name for folder in reaped] == [HASH[:16]]
        assert read(reaped[0].journal).status == "KILLED"
        assert read(living.folder.journal).status == "RUNNING"
    assert _train(tmp_path, rounds=8) is not None


def test_artifacts_lie_inside_the_run_folder(tmp_path: Path) -> None:
    with _open(tmp_path) as record:
        figure = record.folder.artifacts / "curve.png"
        figure.write_bytes(b"png")
        record.publish(figure)
        assert "artifacts/curve.png" in record.journal.history.artifacts
        with pytest.raises(ValueError, match="not in the subpath"):
            record.publish(record.folder.path / ".." / "secret")


@pytest.mark.parametrize("absent", ["mlflow", "psutil", "pynvml"])
def test_the_journal_way_works_without(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [absent, *(m for m in sys.modules if m.startswith(f"{absent}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        importlib.import_module(absent)
    assert _train(tmp_path, rounds=3) is not None
    assert table.runs(tmp_path).accuracy_last.tolist() == [pytest.approx(6.0)]
    if absent == "mlflow":
        assert not store.has_mlflow()
        with pytest.raises(store.StoreError, match="Expected MLflow to be installed"):
            sync(tmp_path)


def _imports(tree: ast.AST, *, lazy: bool) -> set[str]:
    """Top-level packages that a module imports, inside functions only when ``lazy``."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= _imports(node, lazy=lazy)
    return found


def test_heavy_packages_are_imported_late_and_mlflow_only_here() -> None:
    package = Path(store.__file__).parents[2]
    lazily = set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if path.name == "ui_app.py":  # imported by MLflow's server alone
            continue
        if path.parent.name in ("tracking", "mlflow"):
            late = {"mlflow", "psutil", "pynvml", "pandas", "sqlalchemy"}
            assert not _imports(tree, lazy=False) & late, path
            lazily |= _imports(tree, lazy=True) & late
        else:
            assert "mlflow" not in _imports(tree, lazy=True), path
    assert "mlflow" in lazily  # the search does find what it looks for


def test_tracking_knows_nothing_of_the_floors_above() -> None:
    for path in Path(store.__file__).parents[1].rglob("*.py"):
        for above in ("federated", "config", "cli", "run", "grid", "study"):
            assert f"fl_platform.{above} " not in path.read_text(), path
            assert f"fl_platform.{above}." not in path.read_text(), path
