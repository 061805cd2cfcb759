"""One run from the command line: what is imported, what is said, what is in the store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.tracking.exporter import pending
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.run_folder import all_runs

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["run", "task=digits", "task.clients=10", "rounds=2", "attack=none", "defense=mean"]
# The command, and which of these packages it imported.
SCRIPT = """
import sys
from fl_platform import cli
try:
    cli.main()
finally:
    print("imported:", *[name for name in ("mlflow", "optuna", "torch") if name in sys.modules])
"""


@pytest.fixture
def call(tmp_path):
    """Run the command in a process of its own; what it printed."""
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")

    def run(*more):
        command = [sys.executable, "-c", SCRIPT, *TINY, *more, "--home", str(tmp_path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_training_imports_no_mlflow_and_the_store_has_the_run(call, tmp_path):
    told = call()
    assert told.splitlines()[-1] == "imported: torch"
    assert "see it: fl-platform ui" in told
    assert not any(map(pending, all_runs(tmp_path)))
    client = store.connect(tmp_path)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "FINISHED"


def test_a_run_that_is_in_no_store_says_so_and_the_same_command_uploads_it(call, tmp_path):
    told = call("runtime.tracking=journal")
    assert "to see it: fl-platform runs sync" in told
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()
    told = call("runtime.tracking=mlflow")  # a stored result, and what was left of its upload
    assert "see it: fl-platform ui" in told
    assert "torch" not in told
    assert not any(map(pending, all_runs(tmp_path)))
    assert (tmp_path / "mlruns" / "mlflow.db").exists()
