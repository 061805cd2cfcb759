"""Workers that die or are asked to leave: every trial accounted for, none counted twice."""

import os
import signal
from collections import Counter

import pytest
from optuna.trial import TrialState

from fl_platform.config import ConfigError, config_hash
from fl_platform.core.process import Stopper
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.run import runner as running
from fl_platform.run.result import finished
from fl_platform.study.problem import open_study
from fl_platform.study.shared_storage import RETRIES
from fl_platform.study.storage import open_storage, origin, recover
from fl_platform.tracking.active_run import CheckpointInterval
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs, run_folder
from tests.study.fake import age, install, make_problem, run_worker


def in_child(work):
    """Run ``work`` in a forked process; its exit code, -9 where it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def states(study):
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def trained(home):
    """The runs of trials; the study's own has no parent."""
    return [run for run in all_runs(home) if run.describe()["parent_run_id"]]


def die_after(rounds):
    """Let this process kill itself once it has trained so many rounds, some of them committed."""
    left, original = [rounds], Commit.on_train_epoch_end

    def count(self, trainer, module):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, trainer, module)

    Commit.on_train_epoch_end = count
    CheckpointInterval.due = lambda self: left[0] % 2 == 0


def test_five_killed_workers_leave_every_trial_accounted_for(home, tmp_path):
    """Real runs, two of three rounds a trial; each worker dies in another round, seed and trial."""
    base = ("rounds=3", "defense=multi_krum", "runtime.progress=none")
    problem = make_problem(home, trials=5, base=base)
    cut = []
    for rounds in (2, 5, 8, 1, 3):

        def worker(rounds=rounds):
            die_after(rounds)
            run_worker(problem)

        assert in_child(worker) == -signal.SIGKILL
        cut += [run for run in trained(home) if read(run.journal).status == "RUNNING"]
        age(home)
    study, _, report = run_worker(problem)
    trials = study.get_trials(deepcopy=False)
    assert states(study) == {"COMPLETE": 5, "FAIL": 5}
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len({origin(trial) for trial in done}) == 5
    assert report.trials < 5  # some were complete before
    for failed in (trial for trial in trials if trial.state == TrialState.FAIL):
        heirs = [t for t in trials if failed.number in t.system_attrs.get("retry_history", [])]
        assert heirs
        assert all(heir.params == failed.params for heir in heirs)
    # each trial has two runs of its own, whole, and its value is theirs
    assert len({run for trial in done for run in trial.user_attrs["runs"]}) == 10
    for trial in done:
        accuracies = []
        for seed, run_id in enumerate(trial.user_attrs["runs"]):
            identity = config_hash(problem.config(trial.params, seed))
            history = read(run_folder(home, identity).journal)
            assert journal_run_id(home, identity) == run_id
            assert [step for step, _ in history.curve("validation/accuracy")] == [1, 2, 3]
            assert not history.alarms
            accuracies.append(finished(home, identity).validation_tail)
        assert trial.value == pytest.approx(sum(accuracies) / 2)
    # and those that were cut end with the bits of runs that never were
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "conf").symlink_to(home / "conf")
    identities = {run.describe()["config_hash"] for run in cut}
    assert len(identities) >= 3
    for trial in done:
        for seed in problem.spec.seeds:
            asked = problem.config(trial.params, seed)
            if config_hash(asked) in identities:
                weights = finished(home, config_hash(asked)).weights_sha256
                assert running.run(asked, undisturbed).weights_sha256 == weights


def test_the_same_study_without_deaths_has_as_many_complete_trials(home, monkeypatch):
    install(monkeypatch)
    study, _, report = run_worker(make_problem(home, trials=8))
    assert states(study) == {"COMPLETE": 8}
    assert report.trials == 8


def test_a_trial_that_kills_every_worker_is_retried_three_times_and_left(home, monkeypatch):
    problem = make_problem(home, trials=2, start=[{"attack.nu": 3.5}])

    def deadly(config):
        if config.attack["nu"] == 3.5:
            os.kill(os.getpid(), signal.SIGKILL)

    install(monkeypatch, before=deadly)
    for _ in range(1 + RETRIES):
        assert in_child(lambda: run_worker(problem)) == -signal.SIGKILL
        age(home)
    study, _, _ = run_worker(problem)
    assert states(study) == {"FAIL": 1 + RETRIES, "COMPLETE": 2}
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert {t.params["attack.nu"] for t in failed} == {3.5}


def test_a_worker_that_is_alive_keeps_its_trial(home, monkeypatch):
    """The negative control: only silence makes a trial stale."""
    problem = make_problem(home, trials=3)

    def die(config):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        install(patch, before=die)
        assert in_child(lambda: run_worker(problem)) == -signal.SIGKILL
    study = open_study(problem, open_storage(home))
    recover(study)
    assert states(study) == {"RUNNING": 1}
    age(home)
    recover(study)
    assert states(study) == {"FAIL": 1, "WAITING": 1}


def test_two_workers_at_once_meet_the_budget_exactly(home, monkeypatch):
    install(monkeypatch)
    problem = make_problem(home, trials=12)
    open_study(problem, open_storage(home))._storage.remove_session()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                run_worker(problem)
            except BaseException:
                os._exit(3)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    study = open_study(problem, open_storage(home))
    assert states(study) == {"COMPLETE": 12}


def test_a_killed_trial_continues_from_its_own_checkpoint(home, monkeypatch):
    base = ("rounds=6", "runtime.progress=none", "defense=multi_krum")
    problem = make_problem(home, trials=1, base=base, start=[{"attack.nu": 1.0}])
    original = Commit.on_train_epoch_end

    def kill(self, trainer, module):
        original(self, trainer, module)
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Commit, "on_train_epoch_end", kill)
        patch.setattr(CheckpointInterval, "due", lambda self: True)
        assert in_child(lambda: run_worker(problem)) == -signal.SIGKILL
    age(home)
    rounds = []
    monkeypatch.setattr(
        Commit,
        "on_train_epoch_end",
        lambda self, trainer, module: (
            rounds.append(trainer.global_step), original(self, trainer, module),
        ),
    )  # fmt: skip
    study, objective, _ = run_worker(problem)
    assert states(study) == {"FAIL": 1, "COMPLETE": 1}
    assert rounds == [4, 5, 6, 1, 2, 3, 4, 5, 6]  # the first seed goes on, the second begins
    journal = read(run_folder(home, objective.hashes[0]).journal)
    assert [step for step, _ in journal.curve("test/accuracy")] == [1, 2, 3, 4, 5, 6]
    assert not journal.alarms
    assert study.best_trial.user_attrs["runs"][0] == journal_run_id(home, objective.hashes[0])


def journal_run_id(home, config_hash):
    return run_folder(home, config_hash).describe()["run_id"]


def test_a_worker_that_is_asked_to_stop_gives_its_trial_back(home, monkeypatch):
    problem = make_problem(home, trials=4)
    with Stopper() as stopper, monkeypatch.context() as patch:
        begun = install(
            patch, before=lambda c: c.seed == 1 and os.kill(os.getpid(), signal.SIGTERM)
        )
        study, _, report = run_worker(problem, trials=2, stopper=stopper)
        # the seed in hand is ended, the trial is complete: asked too late to give it back
        assert (report.trials, states(study)) == (1, {"COMPLETE": 1})
    with Stopper() as stopper, monkeypatch.context() as patch:
        begun = install(
            patch, before=lambda c: c.seed == 0 and os.kill(os.getpid(), signal.SIGTERM)
        )
        study, _, report = run_worker(problem, stopper=stopper)
        assert report.trials == 0
        assert states(study) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    left = study.trials[1].params
    begun = install(monkeypatch)
    study, _, _ = run_worker(problem)
    assert states(study) == {"COMPLETE": 4, "FAIL": 1}
    heir = study.trials[2]
    assert (heir.params, origin(heir)) == (left, 1)
    assert heir.system_attrs["retry_history"] == []  # being asked is no failure
    assert [c.seed for c in begun if c.attack["nu"] == left["attack.nu"]] == [1]


def test_a_signal_inside_a_real_run_ends_the_worker_and_the_trial_goes_on(home, monkeypatch):
    """A run has a stopper of its own, which must not keep the request from its worker."""
    base = ("rounds=4", "defense=multi_krum", "runtime.progress=none")
    problem = make_problem(home, trials=2, base=base, start=[{"attack.nu": 1.0}])
    original = Commit.on_train_epoch_end

    def asked(self, trainer, module):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, module)

    with Stopper() as stopper, monkeypatch.context() as patch:
        patch.setattr(Commit, "on_train_epoch_end", asked)
        study, _, report = run_worker(problem, stopper=stopper)
        assert (report.trials, stopper.signal) == (0, signal.SIGINT)
    assert states(study) == {"FAIL": 1, "WAITING": 1}
    (left,) = trained(home)
    assert read(left.journal).status == "KILLED"
    study, _, _ = run_worker(problem)
    assert states(study) == {"FAIL": 1, "COMPLETE": 2}
    history = read(left.journal)
    assert history.status == "FINISHED"
    assert [step for step, _ in history.curve("test/accuracy")] == [1, 2, 3, 4]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_storage_in_memory_is_refused_since_its_trials_would_be_lost(home, url):
    with pytest.raises(ConfigError, match="--storage: expected a file"):
        open_storage(home, url)
