"""A grid ends, whatever is raised: exit code, status of the parent, no process left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl_platform.run import outputs
from fl_platform.tracking.exporter import pending
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["task=digits", "task.clients=10", "rounds=2", "attack=none", "defense=mean", "seed=0"]
# Runs the command line with a fault planted: the name of a function that then raises.
PLANTED = """
import sys
from importlib import import_module
from fl_platform import cli
module, _, name = sys.argv.pop(1).rpartition(":")
def fail(*_, **__):
    raise ZeroDivisionError("planted")
if module:
    holder = import_module(module)
    *path, last = name.split(".")
    for each in path:
        holder = getattr(holder, each)
    setattr(holder, last, fail)
cli.main()
"""


def grid(home, fault, *more, env=None, way=("--jobs", "1")):
    """Run a grid of one cell to its end; the process, and whom it left behind."""
    marker = f"FL_TEST_MARK={home}"
    command = [sys.executable, "-c", PLANTED, fault, "grid", *TINY, *way, *more]
    process = subprocess.run(
        [*command, "--home", str(home)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FL_TEST_MARK": str(home), **(env or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    end = time.monotonic() + 5.0  # the documented time
    while (left := marked(marker)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return process, left


def marked(marker):
    """The processes with ``marker`` in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def parent(home):
    (folder,) = [f for f in all_runs(home) if f.describe()["name"].startswith("grid ")]
    return read(folder.journal)


STEPS = [
    "fl_platform.grid.grid_run:GridRun.start",
    "fl_platform.grid.local_executor:warm_up",
    "fl_platform.grid.progress_table:ProgressTable.changed",
    "fl_platform.grid.results:tables_of",
    "fl_platform.grid.results:write",
    "fl_platform.grid.grid_run:GridRun.finish",
]


@pytest.mark.parametrize("fault", STEPS[3:5])
def test_an_exception_leaves_no_process_and_a_true_status(home, fault):
    process, left = grid(home, fault)
    assert process.returncode == 1
    assert "planted" in process.stderr
    assert left == []
    assert parent(home).status == "FAILED"


@pytest.mark.nightly
@pytest.mark.parametrize("fault", STEPS)
def test_an_exception_at_any_step_leaves_no_process_and_a_true_status(home, fault):
    test_an_exception_leaves_no_process_and_a_true_status(home, fault)


WORKER_STEPS = [
    "fl_platform.grid.pull:PullWorker._execute",
    "fl_platform.grid.pull:FolderClaims.look",
    "fl_platform.grid.pull:PullWorker.work",
    "fl_platform.grid.pull:finish",
]


@pytest.mark.parametrize("fault", WORKER_STEPS[:1])
def test_an_exception_in_a_worker_leaves_no_process_and_a_true_status(home, fault):
    process, left = grid(home, fault, way=["--worker"])
    assert process.returncode == 1
    assert "planted" in process.stderr
    assert left == []
    assert parent(home).status == "FAILED"


@pytest.mark.nightly
@pytest.mark.parametrize("fault", WORKER_STEPS)
def test_an_exception_at_any_step_of_a_worker_leaves_no_process(home, fault):
    test_an_exception_in_a_worker_leaves_no_process_and_a_true_status(home, fault)


def test_slurm_without_slurm_is_refused_in_one_line(home):
    process, left = grid(home, "", "--executor", "slurm", env={"PATH": "/nonexistent"})
    assert process.returncode == 2, process.stderr
    assert "expected srun on PATH" in process.stderr
    assert "Traceback" not in process.stderr
    assert left == []
    assert parent(home).status == "FAILED"


def test_what_an_outage_kept_out_is_uploaded_by_the_same_command(home):
    process, left = grid(home, "", "--no-report", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("runs sync") == 1
    assert left == []
    assert all(pending(folder) for folder in all_runs(home))
    process, left = grid(home, "", "--no-report")
    assert process.returncode == 0, process.stderr
    assert "runs sync" not in process.stderr
    assert left == []
    assert not [folder.path for folder in all_runs(home) if pending(folder)]


def test_a_full_disk_under_the_weights_is_the_system_s_own_error(home, monkeypatch):
    """Torch's own writer would make a RuntimeError of it."""
    from fl_platform.config import compose
    from fl_platform.run.runner import run

    written, real = [], outputs.write_atomic

    def full(path, *chunks):
        written.append(path.name)
        if path.name == "weights.pt":
            raise OSError(28, os.strerror(28), str(path))
        real(path, *chunks)

    monkeypatch.setattr(outputs, "write_atomic", full)
    typed = [*TINY, "runtime.tracking=journal", "runtime.progress=none"]
    with pytest.raises(OSError, match="No space left"):
        run(compose(typed, home), home)
    assert written == ["config.yaml", "weights.pt"]
    (folder,) = all_runs(home)
    assert read(folder.journal).status == "FAILED"
