"""A suite ends, whatever is raised where: exit code, log entry, statuses, no process left."""

import shutil

import psutil
import pytest

from fl_platform.grid import grid_run, local_executor, plan, progress_table
from fl_platform.repro import compare as drift
from fl_platform.repro import publish, runner, timeline
from fl_platform.repro.log import SuiteLog
from fl_platform.run import provenance
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import all_runs
from tests.repro.conftest import TINY, furnish

# Each step of the story, in order: where it is called from, and its name.
STEPS = {
    "the suite is loaded": (runner, "load_suite"),
    "the code is checked": (runner, "refuse_unnamed_code"),
    "the grid is planned": (plan, "plan_grid"),
    "runs of other conditions are found": (runner, "renewed"),
    "the grid's run is described": (grid_run.GridRun, "start"),
    "the workers are prepared": (local_executor, "warm_up"),
    "a run is shown": (progress_table.ProgressTable, "changed"),
    "the grid's run ends": (grid_run.GridRun, "finish"),
    "runs are paired": (runner, "_paired"),
    "pairs are compared": (drift, "compare"),
    "the history is drawn": (timeline, "history_figure"),
    "the page is written": (runner, "write_page"),
    "the sentences are printed": (runner, "sentences"),
    "the result is recorded": (publish, "follow"),
    "the report is attached": (ParentRun, "attach"),
    "the entry is written": (SuiteLog, "note"),
}
IN_GRID = {"the grid's run is described", "the workers are prepared", "a run is shown"}
IN_GRID |= {"the grid's run ends"}
IN_PUBLISH = {"the result is recorded", "the report is attached"}
OUTSIDE = ("the suite is loaded", "the entry is written")  # of the log entry
FEW = ("the suite is loaded", "a run is shown", "the report is attached", "the entry is written")
LATE = pytest.mark.nightly


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """A ``conf/`` with the reference of a suite of one run."""
    home = furnish(tmp_path_factory.mktemp("accepted"))
    one = TINY.replace("mean, median", "mean").replace("seeds: 2", "seeds: 1")
    suite = home / "conf" / "suite" / "tiny.yaml"
    suite.write_text(one.replace("reference_seeds: 10", "reference_seeds: 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "git_state", lambda: ("c" * 40, False))
        with pytest.raises(runner.CouldNotRun, match="no reference exists"):
            runner.run_suite("tiny", home)
        runner.accept("tiny", home, "first")
    shutil.rmtree(home / "mlruns")
    return home


@pytest.fixture
def home(accepted, tmp_path):
    return shutil.copytree(accepted, tmp_path / "home")


def statuses(home, name):
    """The statuses of the parents whose names begin with ``name``."""
    found = [run for run in all_runs(home) if run.describe()["name"].startswith(name)]
    return {read(run.journal).status for run in found}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        pytest.param(
            step,
            error,
            marks=() if step in FEW and error is ZeroDivisionError else LATE,
        )
        for step in STEPS
        for error in (ZeroDivisionError, OSError, KeyboardInterrupt)
        if error is not OSError or step in OUTSIDE
    ],
)
def test_an_exception_at_any_step_is_no_drift(call, home, clean, monkeypatch, step, error):
    before, raised = set(psutil.Process().children(recursive=True)), []

    def fail(*_, **__):
        raised.append(True)
        raise error("planted")

    with monkeypatch.context() as planted:
        planted.setattr(*STEPS[step], fail)
        code, _, told = call("repro", "run", "tiny")
    assert raised
    outside = step in OUTSIDE
    expected = 130 if error is KeyboardInterrupt else 4 if error is OSError and outside else 2
    assert code == expected, told
    assert ("planted" in told) == (error is not KeyboardInterrupt)
    left = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(left, timeout=5.0)[1]
    ended = "KILLED" if error is KeyboardInterrupt else "FAILED"
    assert statuses(home, "grid ") <= ({ended} if step in IN_GRID else {"FINISHED"})
    assert statuses(home, "repro ") == ({ended} if step in IN_PUBLISH else set()) or outside
    assert not any(is_owned(run.lock) for run in all_runs(home))
    entries = list(SuiteLog(home, "tiny").entries())
    assert len(entries) == (not outside)
    code, _, told = call("repro", "run", "tiny")  # nothing is left in the way
    assert code == 0, told
