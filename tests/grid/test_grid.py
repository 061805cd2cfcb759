"""A grid as a person runs it: workers, failures, kills, and the same command again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fl_platform as fl
from fl_platform.config import ConfigError
from fl_platform.grid import local_executor as pool
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.progress_table import newest
from fl_platform.grid.results import frame_of
from fl_platform.grid.runner import Options, dry, run_grid
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import RunFolder, all_runs, run_folder

TINY = ["task=digits", "rounds=2", "runtime.tracking=journal", "task.clients=10"]


def folders(home):
    return [folder for folder in all_runs(home) if folder.describe()["parent_run_id"]]


def run(home, *overrides, **options):
    grid, cells = plan_grid([*TINY, *overrides], home)
    return cells, run_grid(grid, cells, home, Options(jobs=2, report=False, **options))


def test_twelve_cells_by_two_processes_none_doubled_none_missing(home, capsys):
    cells, outcome = run(home, "attack=none,lie,ipm", "defense=mean,median", "seed=0,1")
    assert len(cells) == 12
    assert {folder.describe()["config_hash"] for folder in folders(home)} == {
        cell.config_hash for cell in cells
    }
    for folder in folders(home):
        statuses = [json.loads(line) for line in folder.journal.read_text().splitlines()]
        turns = [record["status"] for record in statuses if record["kind"] == "status"]
        assert turns == ["RUNNING", "FINISHED"]
        assert folder.describe()["parent_run_id"] == outcome.parent.run_id
    assert [job.state for job in outcome.table.jobs] == ["done"] * 12
    assert "Accuracy under attack" in capsys.readouterr().out

    stamps = {folder.path: folder.result_file.stat().st_mtime_ns for folder in folders(home)}
    _, again = run(home, "attack=none,lie,ipm", "defense=mean,median", "seed=0,1")
    assert all(job.before for job in again.table.jobs)
    assert again.parent.run_id == outcome.parent.run_id
    assert stamps == {f.path: f.result_file.stat().st_mtime_ns for f in folders(home)}


def test_a_cell_that_fails_does_not_stop_the_others_and_says_why(home, capsys):
    overrides = ["task=digits,cifar10", "task.data.download=false", "seed=0"]
    grid, cells = plan_grid(["task=digits", *TINY[1:], "seed=0,1"], home)
    _, broken = plan_grid([*TINY[1:], "task=cifar10", *overrides[1:]], home)
    outcome = run_grid(grid, [cells[0], *broken, cells[1]], home, Options(jobs=2, report=False))
    assert [job.state for job in outcome.table.jobs] == ["done", "failed", "done"]
    job = outcome.table.jobs[1]
    assert "cifar" in job.reason
    assert "Traceback" in job.trace
    assert job.reason in capsys.readouterr().out
    failures = json.loads((outcome.parent.folder.artifacts / "failures.json").read_text())
    assert list(failures) == [job.planned.name]
    assert read(outcome.parent.folder.journal).status == "FAILED"


def test_a_killed_worker_is_replaced_and_its_cell_continued(home):
    _, cells = plan_grid([*TINY[:1], "rounds=4000", *TINY[2:], "seed=0"], home)
    table = JobTable.of(cells, home)
    journal = run_folder(home, cells[0].config_hash).journal
    killed = []

    def changed(job):
        started = journal.exists() and journal.stat().st_size > 20000
        workers = running._workers
        if started and workers and len(killed) < pool.TRIES:
            if killed and killed[-1] == workers[0].process.pid:
                return
            killed.append(workers[0].process.pid)
            os.kill(killed[-1], signal.SIGKILL)

    home.joinpath("logs").mkdir()
    with pool.LocalExecutor(home, 1, logs=home / "logs") as running:
        running.work(table, changed, lambda: False)
    assert len(set(killed)) == pool.TRIES
    assert table.jobs[0].state == "failed"
    assert "by signal 9" in table.jobs[0].reason


def test_a_cell_that_another_process_works_on_is_waited_for(home):
    _, cells = plan_grid([*TINY, "seed=0"], home)
    folder = run_folder(home, cells[0].config_hash).create()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    table = JobTable.of(cells, home)
    seen = []

    def changed(job):
        if table.jobs[0].state == "running in another process" and not seen:
            seen.append(True)
            holder.communicate(b"\n")  # not only EOF: the worker was forked with this pipe open

    home.joinpath("logs").mkdir()
    with pool.LocalExecutor(home, 1, logs=home / "logs") as running:
        running.work(table, changed, lambda: False)
    assert seen
    assert table.jobs[0].state == "done"


HOLD = """
import sys
from pathlib import Path
from fl_platform.tracking.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_goes_on_where_a_killed_grid_stopped(home, number):
    overrides = [*TINY[:1], "rounds=60", *TINY[2:], "attack=none,lie", "seed=0,1"]
    grid, cells = plan_grid(overrides, home)
    command = [sys.executable, "-m", "fl_platform.cli", "grid", *overrides, "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--home", str(home)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = run_folder(home, cells[0].config_hash)
    while process.poll() is None and not first.result_file.exists():
        time.sleep(0.02)  # until there is something to keep and something to continue
    process.send_signal(number)
    code = process.wait(60)
    assert code == (143 if number == signal.SIGTERM else -9)
    kept = {f.path for f in folders(home) if f.result_file.exists()}
    assert 0 < len(kept) < len(cells)
    stamps = {path: RunFolder(path).result_file.stat().st_mtime_ns for path in kept}

    outcome = run_grid(grid, cells, home, Options(jobs=2, report=False))
    assert len(outcome.table.of_state("done")) == len(cells)
    for path, stamp in stamps.items():
        assert RunFolder(path).result_file.stat().st_mtime_ns == stamp
    for folder in folders(home):
        curve = read(folder.journal).curve("test/accuracy")
        assert [step for step, _ in curve] == list(range(1, 61))
        assert not read(folder.journal).alarms


def test_a_dry_run_tells_cells_time_and_disk_and_leaves_nothing(home, capsys):
    grid, cells = plan_grid([*TINY, "seed=0,1", "attack=none,lie"], home)
    told = dry(grid, cells, home, Options(jobs=2))
    out = capsys.readouterr().out
    assert not list(all_runs(home))
    assert (told["to_run"], told["jobs"], told["source"]) == (4, 2, "one measured run")
    assert told["seconds"] > 0
    assert told["bytes"] > 0
    assert all(cell.name in out for cell in cells)

    run(home, "seed=0", "attack=none,lie")
    again = dry(grid, cells, home, Options(jobs=2))
    assert (again["to_run"], again["source"]) == (2, "earlier runs")


def test_a_dry_run_without_the_data_is_refused_by_name(home):
    grid, cells = plan_grid(["task=femnist", f"task.data.root={home}"], home)
    with pytest.raises(ConfigError, match=r"vs mean, femnist s0: expected a round .* DataError"):
        dry(grid, cells, home, Options())


def test_a_report_has_the_runs_that_an_experiment_shares_with_others(home):
    run(home, "seed=0", "attack=none")
    (home / "conf").unlink()
    shutil.copytree(Path(__file__).resolve().parents[2] / "conf", home / "conf")
    own = "# @package _global_\ngrid: {axes: {attack: 'none, lie', seed: 0}}\n"
    (home / "conf" / "experiment" / "own.yaml").write_text(own)
    grid, cells = plan_grid(["own", *TINY], home)
    outcome = run_grid(grid, cells, home, Options(jobs=1, report=False))
    assert [job.before for job in outcome.table.jobs] == [True, False]
    assert set(frame_of(home, "own")["attack"]) == {"none", "lie"}
    assert set(frame_of(home, "grid")["attack"]) == {"none"}
    assert set(fl.runs("own", home=home)["attack"]) == {"none", "lie"}
    with pytest.raises(ConfigError, match=r"'gird'; did you mean 'grid'\? There are: grid, own"):
        frame_of(home, "gird")


def test_an_executor_or_setting_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="local or slurm"):
        Options(executor="slrum")


def test_the_live_table_counts_a_round_once(home):
    """Steps of ``test/accuracy`` count from one: the last of two rounds is 2/2, not 3/2."""
    cells, _ = run(home, "seed=0", "attack=none")
    rounds, accuracy = newest(run_folder(home, cells[0].config_hash).journal)
    assert rounds == 2
    assert 0 <= accuracy <= 100
