from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_platform.tracking.folder import IdentityMismatch, all_runs
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.record import RunRecord
from fl_platform.tracking.sync import reap

HASH = "0123456789abcdef" * 4


def _open(home: Path, **changes: Any) -> RunRecord:
    settings: dict[str, Any] = {
        "name": "digits none vs mean s0",
        "config_hash": HASH,
        "experiment": "digits",
        "conditions": {"device": "cpu"},
        "tracking": "journal",
    }
    return RunRecord.open(home, **(settings | changes))


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
    with _open(tmp_path, config_hash=HASH[::-1]) as living:
        living.start(params={}, tags={})
        reaped = reap(tmp_path)
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


def test_the_journal_way_works_where_mlflow_and_monitors_are_absent(tmp_path: Path) -> None:
    program = f"""
import sys
for name in ("mlflow", "psutil", "pynvml"):
    sys.modules[name] = None
from pathlib import Path
from fl_platform.tracking import courier, forward, store, sync, table, ui
from fl_platform.tracking.record import RunRecord
with RunRecord.open({str(tmp_path)!r}, name="n", config_hash={HASH!r}, experiment="e",
                    conditions={{}}, tracking="journal") as record:
    record.start(params={{}}, tags={{}})
    record.log(0, {{"test/accuracy": 0.5}})
    record.finish()
frame = table.runs({str(tmp_path)!r})
assert frame.accuracy_last.tolist() == [50.0], frame
try:
    sync.sync({str(tmp_path)!r})
except store.StoreError as error:
    assert "Expected MLflow to be installed" in str(error)
else:
    raise SystemExit("synced without MLflow")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
