"""A store that release 0.1.0 wrote opens, reports and resumes."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fl_platform.run.result import finished
from fl_platform.tracking.frames import runs
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs

ROOT = Path(__file__).parents[1]
STORE = ROOT / "tests/golden/store-0.1.0.tar.gz"
INTERRUPTED = ["task=digits", "attack=ipm", "defense=dnc", "rounds=4000", "evaluation.every=100"]


@pytest.fixture
def old(tmp_path):
    with tarfile.open(STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


def command(home, *words):
    """The command line in a process of its own."""
    typed = [sys.executable, "-m", "fl_platform.cli", *words, "--home", str(home)]
    return subprocess.run(typed, capture_output=True, text=True, check=False, cwd=ROOT)


def test_finished_runs_are_read(old):
    results = [finished(old, str((run.describe() or {})["config_hash"])) for run in all_runs(old)]
    tails = [result.accuracy_tail for result in results if result is not None]
    assert len(tails) == 3
    assert all(0 < tail < 100 for tail in tails)
    assert len(runs(old, source="folders")) >= 3


def test_a_finished_run_is_not_run_again(old):
    typed = ["task=digits", "attack=strike", "defense=median", "rounds=3"]
    again = command(old, "run", *typed, "runtime.tracking=journal")
    assert again.returncode == 0, again.stderr
    assert "FINISHED" in again.stdout


def test_a_report_is_written(old):
    told = command(old, "report", "quick")
    assert told.returncode == 0, told.stderr
    page = (old / "mlruns/reports/quick/index.html").read_text(encoding="utf-8")
    assert "STRIKE" in page


def test_an_interrupted_run_continues_from_its_checkpoint(old):
    (folder,) = [run for run in all_runs(old) if read(run.journal).status == "KILLED"]
    before = read(folder.journal).next_step("round/")
    assert before > 1
    cut = """
import sys
from fl_platform.run import runner
from lightning.pytorch import Callback
from pathlib import Path
from fl_platform.config import compose
class Leave(Callback):
    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = True
home = Path(sys.argv[1])
config = compose([*sys.argv[2:], "runtime.tracking=journal", "runtime.continue_anyway=true"], home)
print(runner.run(config, home, callbacks=[Leave()]).rounds)
"""
    typed = [sys.executable, "-c", cut, str(old), *INTERRUPTED]
    told = subprocess.run(typed, capture_output=True, text=True, check=False, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    assert int(told.stdout.split()[-1]) == before
    assert read(folder.journal).next_step("round/") == before + 1
