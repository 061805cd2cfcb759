"""A study ends, whatever is raised where: true status, free locks, and the next call goes on."""

import sys

import optuna
import pytest

from fl_platform import cli
from fl_platform.study import final_comparison, objective, runner, session, trial_loop
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import is_owned
from fl_platform.tracking.run_folder import all_runs
from tests.study.fake import install

TYPED = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
# Each step of the story, in order: where it is called from, and its name.
STEPS = {
    "the study is opened": (session, "open_study"),
    "its parent is stored": (optuna.Study, "set_user_attr"),
    "its parent is described": (session, "describe"),
    "its parent is uploaded": (session, "follow"),
    "the objective is made": (session, "Objective"),
    "lost trials are found": (trial_loop, "recover"),
    "a sampler is built": (trial_loop, "build_sampler"),
    "a trial runs": (objective.Objective, "__call__"),
    "a trial is shown": (session, "print_trial"),
    "the study is counted": (session, "complete"),
    "the best is evaluated": (final_comparison, "evaluate"),
    "plots are drawn": (session, "plot_study"),
    "the best is written": (session, "override_file"),
    "the worker leaves": (session, "leave"),
    "the study is shown": (runner, "show_study"),
}


@pytest.fixture
def call(home, monkeypatch, capsys):
    def run():
        words = ["fl-platform", "tune", "strike_nu", *TYPED, "--trials", "2", "--final"]
        monkeypatch.setattr(sys, "argv", [*words, "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return run


def parents(home):
    return [run for run in all_runs(home) if not run.describe()["parent_run_id"]]


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError,
        pytest.param(OSError, marks=pytest.mark.nightly),
        pytest.param(KeyboardInterrupt, marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("step", STEPS)
def test_an_exception_at_any_step_leaves_a_true_status(home, call, monkeypatch, step, error):
    install(monkeypatch, lambda config: 50.0 + config.seed / 100)
    raised = []

    def fail(*_, **__):
        raised.append(True)
        raise error("planted")

    with monkeypatch.context() as planted:
        planted.setattr(*STEPS[step], fail)
        code, told = call()
    assert raised
    assert code == {ZeroDivisionError: 1, OSError: 4, KeyboardInterrupt: 130}[error], told
    assert ("planted" in told) == (error is not KeyboardInterrupt)
    ended = "SCHEDULED" if step == "the study is shown" else "FAILED"
    ended = "KILLED" if error is KeyboardInterrupt and ended == "FAILED" else ended
    states = {read(run.journal).status for run in parents(home)}
    begun = list(STEPS).index(step) > list(STEPS).index("its parent is stored")
    assert states == {ended} if begun else states <= {ended, None}
    assert not any(is_owned(run.lock) for run in all_runs(home))
    code, told = call()  # nothing is left in the way, and between calls the status is true
    assert code == 0, told
    assert [read(run.journal).status for run in parents(home)[-1:]] == ["SCHEDULED"]
