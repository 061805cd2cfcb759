"""Workers of one grid on a shared folder: each run once, killed ones taken over, bad ones left."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fl_platform import cli
from fl_platform.config import ConfigError
from fl_platform.grid import pull as pulling
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.runner import Options
from fl_platform.grid.slurm_executor import SlurmExecutor
from fl_platform.run import lookup, run
from fl_platform.tracking.history import UNEXPECTED, History
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import RunLock
from fl_platform.tracking.run_folder import all_runs, run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["task=digits", "rounds=2", "runtime.tracking=journal", "task.clients=10"]


def turns(folder):
    records = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    return [record["status"] for record in records if record["kind"] == "status"]


def pull(home, *overrides):
    grid, planned = plan_grid([*TINY, *overrides], home)
    return pulling.pull(grid, planned, home, Options(report=False))


def launch(home, *overrides, env=None):
    command = [sys.executable, "-m", "fl_platform.cli", "grid", *TINY, *overrides, "--worker"]
    return subprocess.Popen(
        [*command, "--no-report", "--home", str(home)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_workers_as_torchrun_starts_them_execute_each_run_once(home):
    """Lightning logs nothing where the environment gives a rank above 0; a run is one process."""
    sweep = ["attack=none,lie", "defense=mean,median", "seed=0,1"]
    ranks = [{"RANK": str(r), "LOCAL_RANK": str(r), "WORLD_SIZE": "2"} for r in (0, 1)]
    workers = [launch(home, *sweep, env=rank) for rank in ranks]
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    children = [folder for folder in all_runs(home) if folder.describe()["parent_run_id"]]
    assert len(children) == 8
    assert all(turns(folder) == ["RUNNING", "FINISHED"] for folder in children)
    assert all(len(read(folder.journal).curve("test/accuracy")) == 2 for folder in children)
    (parent,) = [folder for folder in all_runs(home) if not folder.describe()["parent_run_id"]]
    assert read(parent.journal).status == "FINISHED"
    assert {folder.describe()["parent_run_id"] for folder in children} == {
        parent.describe()["run_id"]
    }
    assert any("Accuracy under attack" in text for text in said)


def test_a_killed_worker_s_run_is_continued_by_the_next(home):
    long = ["rounds=600", "seed=0"]
    _, (planned,) = plan_grid([*TINY, *long], home)
    folder = run_folder(home, planned.config_hash)
    worker = launch(home, *long)
    while worker.poll() is None and not folder.checkpoint.exists():
        time.sleep(0.02)
    worker.kill()
    worker.communicate()
    assert not folder.result_file.exists()
    result = pull(home, *long)
    assert result.to_json()["done"] == 1
    assert turns(folder) == ["RUNNING", "RUNNING", "FINISHED"]
    assert len(read(folder.journal).curve("test/accuracy")) == 600
    assert not read(folder.journal).alarms


def test_a_worker_leaves_while_another_runs_the_last_run_and_says_so(home, capsys):
    _, (planned,) = plan_grid([*TINY, "seed=0"], home)
    with RunLock(run_folder(home, planned.config_hash).create().lock):
        result = pull(home, "seed=0")
    assert result.to_json()["results"][0]["state"] == "ELSEWHERE"
    assert "1 running in other workers" in capsys.readouterr().out
    assert read(result.parent.folder.journal).status == "SCHEDULED"


def test_a_run_that_fails_is_tried_once_by_each_worker_and_thrice_by_all(home, monkeypatch):
    from fl_platform.run import runner

    def fail(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(runner, "write_artifacts", fail)
    sweep = ["seed=0", "attack=none"]
    for _ in range(pulling.TRIES + 2):
        result = pull(home, *sweep)
        assert result.to_json()["failed"] == 1
    (folder,) = [folder for folder in all_runs(home) if folder.describe()["parent_run_id"]]
    assert turns(folder).count("RUNNING") == 1 + pulling.TRIES  # the first made its two rounds
    assert "starts without a new round" in result.table.jobs[0].reason
    assert read(result.parent.folder.journal).status == "FAILED"


def test_a_result_of_other_data_stays_refused(home, monkeypatch):
    assert pull(home, "seed=0").to_json()["done"] == 1
    monkeypatch.setattr(lookup, "digest_of", lambda *_: "0" * 64)
    result = pull(home, "seed=0")
    assert result.to_json()["failed"] == 1
    assert result.table.jobs[0].reason.startswith("Expected the data from which")


def test_a_worker_adds_the_model_that_a_finished_run_lacks(home):
    pull(home, "seed=0")
    result = pull(home, "seed=0", "runtime.model=true")
    (job,) = result.table.jobs
    assert job.state == "done"
    assert run_folder(home, job.planned.config_hash).history().model is not None


@pytest.mark.parametrize(
    ("reason", "starts"), [("stopped by signal 15", 0), (UNEXPECTED, 1)], ids=["stopped", "killed"]
)
def test_an_orderly_stop_is_no_failed_start(reason, starts):
    history = History()
    history.add({"kind": "status", "status": "RUNNING", "time": 0.0})
    history.add({"kind": "status", "status": "KILLED", "time": 0.0, "reason": reason})
    assert history.starts == starts


def test_each_local_rank_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(pulling, "gpus", lambda: ["4", "7"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    for rank, card in (("0", "4"), ("1", "7"), ("2", "4")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        pulling.choose_gpu()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == card


@pytest.mark.parametrize("damaged", [False, True])
def test_the_result_that_a_restart_replaces_is_no_outcome_of_the_restart(home, damaged):
    """A SLURM task has not begun, or a local worker was killed before its run."""
    _, planned = plan_grid([*TINY, "seed=0"], home)
    before = run(planned[0].config, home)
    (job,) = JobTable.of(planned, home, fresh=True).jobs
    executor = SlurmExecutor(home, parent_run_id="", logs=home, cluster="debug")
    executor._poll(SimpleNamespace(done=lambda: False), [job], pytest.fail)
    assert (job.state, job.outcome(home)) == ("waiting", None)
    if damaged:
        run_folder(home, planned[0].config_hash).identity_file.write_text("{")
        assert JobTable.of(planned, home, fresh=True).jobs[0].state == "waiting"
        return
    after = run(
        replace(planned[0].config, runtime=replace(planned[0].config.runtime, fresh=True)), home
    )
    executor._poll(SimpleNamespace(done=lambda: False), [job], lambda _: None)
    assert (job.state, job.result.run_id) == ("done", after.run_id)
    assert after.run_id != before.run_id


def test_a_worker_refuses_to_start_runs_again(home):
    with pytest.raises(ConfigError, match=r"runtime\.fresh: expected false with --worker"):
        pull(home, "seed=0", "runtime.fresh=true")


@pytest.mark.parametrize("option", [["--restart"], ["--jobs", "2"], ["--executor", "slurm"]])
def test_options_that_a_worker_cannot_have_are_refused(home, option):
    told = CliRunner().invoke(cli.app, ["grid", "quick", "--worker", *option, "--home", str(home)])
    assert told.exit_code == 2
    assert "Start more workers" in " ".join(told.output.split())
