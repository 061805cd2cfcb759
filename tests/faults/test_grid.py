"""R6: a grid whose processes are killed and whose store is away ends complete, once, and equal."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from fl_platform.tracking.frames import runs
from fl_platform.tracking.run_folder import all_runs, run_folder
from tests.faults.conftest import make_home
from tests.faults.runs import SMALL

pytestmark = pytest.mark.nightly
CELLS = int(os.environ.get("FL_FAULT_CELLS", "200"))
KILLS = max(2, CELLS // 10)
# what differs between two executions of one grid: who ran it and how long it took
OWN = ["run_id", "parent_run_id", "seconds"]


def command(home: Path) -> list[str]:
    sweeps = ["attack=mimic,lie", "defense=centered_clipping,median", f"seed=range(0,{CELLS // 4})"]
    small = [word for word in SMALL if not word.startswith("seed=")]
    return [
        *("grid", "task=digits", *sweeps, *small, "rounds=3"),
        *("--jobs", "2", "--no-report", "--home", str(home)),
    ]


def workers(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def cells_of(home: Path) -> pd.DataFrame:
    frame = runs(home, "folders")
    frame = frame[frame.config_hash.isin(frame[frame.attack != ""].config_hash)]
    return frame.drop(columns=OWN).sort_values("config_hash", ignore_index=True)


def test_a_grid_under_fire_ends_like_one_in_peace(zygote, tmp_path, chance, figure):
    calm, home = make_home(tmp_path / "calm"), make_home(tmp_path / "fire")
    peace = zygote.start(*command(calm), out=tmp_path)
    assert peace.finish(3000) == 0, peace.text
    turns = [folder.journal.read_text().count('"status":"RUNNING"') for folder in all_runs(calm)]
    assert turns.count(1) >= CELLS  # two processes in peace begin no cell twice
    assert max(turns) == 1

    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    kills, grids = 0, 0
    child = zygote.start(*command(home), out=tmp_path, env=away)
    while kills < KILLS:
        if child.wait(chance.uniform(0, 6)) is not None:  # it ended: whatever it left, go on
            child = zygote.start(*command(home), out=tmp_path, env=away)
            continue
        at_work = workers(child.pid)
        kills += 1
        if chance.random() < 0.25 or not at_work:  # the machine restarts: all of them
            grids += 1
            child.kill()
            child.finish()
            child = zygote.start(*command(home), out=tmp_path, env=away)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(at_work), signal.SIGKILL)
    child.finish(3000)
    last = zygote.start(*command(home), out=tmp_path)  # the store is back
    assert last.finish(3000) == 0, last.text

    found = cells_of(home)
    assert len(found) == CELLS
    assert set(found.status) == {"FINISHED"}
    assert found.config_hash.is_unique
    pd.testing.assert_frame_equal(found, cells_of(calm))
    for folder in all_runs(home):
        assert folder.path == run_folder(home, folder.describe()["config_hash"]).path

    bring = zygote.start("runs", "sync", "--home", str(home), out=tmp_path)
    assert bring.finish(600) == 0, bring.text
    stored = runs(home, "mlflow")
    stored = stored[stored.attack != ""].drop(columns=OWN)
    stored = stored.sort_values("config_hash", ignore_index=True)
    pd.testing.assert_frame_equal(found, stored)
    figure("R6", f"{CELLS} runs, {kills} kills ({grids} of the whole grid), one outage: all equal")
