"""Trials that are given up: by seeds, by rounds, judged alike live, stored and resumed."""

import os
import signal
import warnings

import optuna
import pytest
from optuna.trial import TrialState

from fl_platform.config import ConfigError, config_hash
from fl_platform.federated.callbacks.checkpoint import Commit
from fl_platform.run import runner as running
from fl_platform.run.result import finished
from fl_platform.study.console import show_study
from fl_platform.study.final_comparison import winner
from fl_platform.study.pruning import Percentile, behind, build_pruner
from fl_platform.study.spec import Pruner, load_plan
from fl_platform.study.standing import Standing, Watch
from fl_platform.tracking.cadence import Cadence
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder
from tests.study.fake import age, install, make_stage, run_worker

ROUNDS = 8
BY_ROUNDS = Pruner(name="median", by="rounds", warmup_rounds=3, warmup_trials=2)
# A learning rate of 1e-6 learns nothing, and everybody can see it after three rounds.
LEARNING = {
    "space": {"task.local.lr": {"low": 1e-6, "high": 0.1, "log": True}},
    "start": [{"task.local.lr": lr} for lr in (0.05, 0.04, 1e-6)],
    "direction": "maximize",
    "base": ("attack=none", "defense=mean", f"rounds={ROUNDS}", "runtime.progress=none"),
    "trials": 3,
}


def told(trial):
    """(step, value) of everything that Optuna heard of the trial."""
    return sorted(trial.intermediate_values.items())


def test_a_pruned_trial_stops_after_a_seed_and_is_no_result(home, monkeypatch):
    begun = install(monkeypatch, accuracy=lambda c: c.attack["nu"] * 20)
    points = [{"attack.nu": nu} for nu in (0.5, 0.6, 0.7, 3.0)]
    pruner = Pruner(name="median", warmup_trials=3, warmup_seeds=1)
    stage = make_stage(home, trials=4, start=points, pruner=pruner)
    study, _, report = run_worker(stage)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    assert study.best_params == {"attack.nu": 0.5}
    assert report.trials == 4
    assert [(c.attack["nu"], c.seed) for c in begun][-1] == (3.0, 0)
    assert len(begun) == 7
    # the default prunes nothing
    free, _, _ = run_worker(make_stage(home, name="free", trials=4, start=points))
    assert {t.state.name for t in free.trials} == {"COMPLETE"}


def test_a_warm_up_of_seeds_is_always_run(home, monkeypatch):
    install(monkeypatch, accuracy=lambda c: c.attack["nu"] * 20)
    points = [{"attack.nu": nu} for nu in (0.5, 0.6, 0.7, 3.0)]
    pruner = Pruner(name="median", warmup_trials=3, warmup_seeds=2)
    stage = make_stage(home, trials=4, start=points, pruner=pruner, seeds=[0, 1, 2])
    study, _, _ = run_worker(stage)
    assert study.trials[3].state.name == "PRUNED"
    assert len(study.trials[3].user_attrs["runs"]) == 2


def test_a_value_is_behind_where_it_is_not_among_the_best():
    others = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert behind(31.0, others, 50, higher=False)
    assert not behind(30.0, others, 50, higher=False)
    assert behind(29.0, others, 50, higher=True)
    assert not behind(30.0, others, 50, higher=True)
    assert behind(21.0, others, 25, higher=False)
    assert not behind(20.0, others, 25, higher=False)
    assert behind(39.0, others, 25, higher=True)


def curves(pruner, direction, trials):
    """A study of trials that report one curve each, asked after every value; the last's state."""
    study = optuna.create_study(direction=direction, pruner=pruner)

    def objective(trial):
        for step, value in enumerate(trials[trial.number]):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return trials[trial.number][-1]

    study.optimize(objective, n_trials=len(trials))
    return study.trials[-1]


def test_an_attacker_is_judged_by_the_newest_value_and_not_by_the_untrained_model():
    """The negative control, Optuna's own, takes the 10 % of round 1 for the attacker's success."""
    strong = [[10.0, 20.0, 30.0], [10.0, 21.0, 31.0]]
    weak = [10.0, 60.0, 90.0]
    ours = curves(Percentile(50, 2), "minimize", [*strong, weak])
    assert (ours.state, ours.last_step) == (TrialState.PRUNED, 1)
    theirs = optuna.pruners.PercentilePruner(50, n_startup_trials=2)
    assert curves(theirs, "minimize", [*strong, weak]).state == TrialState.COMPLETE


def test_nothing_is_given_up_before_enough_trials_are_complete():
    trials = [[10.0, 20.0], [10.0, 21.0], [10.0, 90.0]]
    assert curves(Percentile(50, 3), "minimize", trials).state == TrialState.COMPLETE
    assert curves(Percentile(50, 2), "minimize", trials).state == TrialState.PRUNED


@pytest.mark.parametrize(
    ("excess", "state"), [(1.0, TrialState.COMPLETE), (0.0, TrialState.PRUNED)]
)
def test_an_attack_that_breaks_the_constraint_is_no_measure(excess, state):
    study = optuna.create_study(direction="minimize", pruner=Percentile(50, 1))
    visible = study.ask()
    visible.report(10.0, 0)
    visible.set_constraint("weight_share", excess)
    study.tell(visible, 10.0)
    study.optimize(lambda trial: quiet(trial, 80.0), n_trials=1)
    assert study.trials[1].state == state


def quiet(trial, value):
    trial.report(value, 0)
    if trial.should_prune():
        raise optuna.TrialPruned
    return value


def test_a_pruner_says_none_unless_it_is_asked_for():
    assert isinstance(build_pruner(Pruner()), optuna.pruners.NopPruner)
    assert build_pruner(Pruner(name="median")).percentile == 50
    assert build_pruner(Pruner(name="percentile", percentile=10.0)).percentile == 10


@pytest.mark.parametrize(
    ("by", "steps"),
    [
        ("seeds", [11, 23]),
        ("rounds", [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23]),
    ],
)
def test_a_step_counts_the_rounds_behind_a_trial(by, steps):
    """Two seeds of four rivals, three rounds a run, told from the second round on."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    pruner = Pruner(by=by, warmup_rounds=2 if by == "rounds" else None)
    standing = Standing(trial, pruner, "maximize", rounds=3, seeds=2, rivals=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(2):
            for rival in range(4):
                watch = standing.watch(rival, tail=1)
                if watch is not None:
                    watch.hear([(1, 0.1), (2, 0.2), (3, 0.3 + rival / 10 + seed / 100)])
                standing.add(rival, 30.0 + 10 * rival + seed)
    heard = dict(told(study.trials[0]))
    assert list(heard) == steps
    assert heard[11] == pytest.approx(30.0)  # the worst of four rivals for who maximizes
    assert heard[23] == pytest.approx(standing.value) == pytest.approx(30.5)
    if by == "rounds":
        assert heard[13] == pytest.approx((30.0 + 20.0) / 2)  # one run over, one half way


def test_a_run_is_told_once_after_its_warm_up_as_the_mean_of_its_last_evaluations():
    heard = []
    watch = Watch(lambda done, accuracy: heard.append((done, round(accuracy, 6))), 3, tail=2)
    curve = [(round_, round_ / 10) for round_ in (1, 2, 3, 4)]
    watch.hear(curve[:3])
    watch.hear(curve)
    watch.hear(curve)
    assert heard == [(3, 25.0), (4, 35.0)]


def test_a_run_that_was_given_up_is_heard_no_further():
    heard = []
    watch = Watch(lambda done, accuracy: heard.append(done) or done == 2, 1, tail=1)
    watch.hear([(1, 0.1), (2, 0.2), (3, 0.3)])
    assert (heard, watch.given_up) == ([1, 2], True)


def test_a_real_trial_is_given_up_by_rounds_and_its_run_can_go_on(home, tmp_path, capsys):
    stage = make_stage(home, pruner=BY_ROUNDS, **LEARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The reported value is ignored")
        study, _, report = run_worker(stage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert report.trials == 3
    whole = [*range(2, ROUNDS), *range(ROUNDS + 2, 2 * ROUNDS)]
    assert [step for step, _ in told(study.trials[0])] == whole
    assert told(study.trials[0])[-1][1] == pytest.approx(study.trials[0].value)
    lost = study.trials[2]
    assert [step for step, _ in told(lost)] == [2]
    # the run says that it is not over, and is nobody's result
    asked = stage.config(lost.params, 0)
    folder = run_folder(home, config_hash(asked))
    journal = read(folder.journal)
    assert (journal.status, finished(home, config_hash(asked))) == ("KILLED", None)
    assert "given up by a callback after round 3 of 8" in folder.journal.read_text()
    assert lost.user_attrs["runs"] == [folder.describe()["run_id"]]
    assert journal.tags["optuna.trial"] == "study#2"
    assert not run_folder(home, config_hash(stage.config(lost.params, 1))).journal.exists()
    # nor of the study: neither best nor shown nor drawn
    assert winner(study).number in (0, 1)
    show_study(study)
    out = capsys.readouterr().out
    assert "2 complete, 1 pruned" in out
    assert "1e-06" not in out
    # the same point goes on where it was left, to the same bits
    result = running.run(asked, home)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "conf").symlink_to(home / "conf")
    assert (result.status, result.rounds) == ("FINISHED", ROUNDS)
    assert result.weights_sha256 == running.run(asked, alone).weights_sha256


def test_no_real_trial_is_given_up_by_default(home):
    """The negative control of the one above."""
    study, _, _ = run_worker(make_stage(home, **LEARNING))
    assert {t.state.name for t in study.trials} == {"COMPLETE"}
    assert [step for step, _ in told(study.trials[2])] == [ROUNDS - 1, 2 * ROUNDS - 1]


def test_a_point_that_was_given_up_is_judged_anew_from_its_journal(home, monkeypatch):
    first = make_stage(home, pruner=BY_ROUNDS, **LEARNING)
    lost = run_worker(first)[0].trials[2]
    rounds = count_rounds(monkeypatch)
    stage = make_stage(home, **{**LEARNING, "start": [lost.params], "trials": 1}, name="second")
    (again,) = run_worker(stage)[0].trials  # nobody to be behind, no pruner: it must go on
    assert again.state == TrialState.COMPLETE
    assert rounds == [*range(4, ROUNDS + 1), *range(1, ROUNDS + 1)]
    # and a third study, with a pruner, hears of stored runs what a live one would have said
    rounds.clear()
    points = [*LEARNING["start"][:2], lost.params]
    third = make_stage(home, **{**LEARNING, "start": points}, name="third", pruner=BY_ROUNDS)
    stored = run_worker(third)[0].trials
    assert rounds == []
    assert stored[2].state == TrialState.PRUNED
    assert told(stored[2]) == told(lost)


def test_a_killed_trial_is_told_again_once_and_alike(home, tmp_path, monkeypatch):
    one = {**LEARNING, "trials": 1, "start": LEARNING["start"][:1], "pruner": BY_ROUNDS}
    other = tmp_path / "undisturbed"
    other.mkdir()
    (other / "conf").symlink_to(home / "conf")
    (whole,) = run_worker(make_stage(other, **one))[0].trials
    original = Commit.on_train_epoch_end

    def kill(self, trainer, module):
        original(self, trainer, module)
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        Commit.on_train_epoch_end = kill
        Cadence.due = lambda self: False  # no checkpoint: the heir replays what is told
        run_worker(make_stage(home, **one))
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    age(home)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The reported value is ignored")
        cut, heir = run_worker(make_stage(home, **one))[0].trials
    assert (cut.state, heir.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert told(cut) == told(whole)[:3]
    assert told(heir) == told(whole)


def count_rounds(monkeypatch):
    rounds = []
    original = Commit.on_train_epoch_end
    monkeypatch.setattr(
        Commit,
        "on_train_epoch_end",
        lambda self, trainer, module: (
            rounds.append(trainer.global_step), original(self, trainer, module),
        ),
    )  # fmt: skip
    return rounds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "rounds"}, "warmup_rounds: expected a number >= 1 with by: rounds"),
        ({"warmup_rounds": 3}, "warmup_rounds: expected null with by: seeds"),
        ({"by": "rounds", "warmup_rounds": 3, "warmup_seeds": 2}, "warmup_seeds: expected 1"),
        ({"warmup_trials": 0}, "warmup_trials: expected a number >= 1"),
        ({"by": "round"}, "seeds"),
    ],
)
def test_a_pruner_that_contradicts_itself_is_refused(home, tmp_path, settings, message):
    text = (home / "tuning" / "strike_nu.yaml").read_text()
    (home / "tuning").unlink()
    (home / "tuning").mkdir()
    inside = ", ".join(f"{key}: {value}" for key, value in {"name": "median", **settings}.items())
    (home / "tuning" / "mine.yaml").write_text(text.replace("{name: none}", f"{{{inside}}}"))
    with pytest.raises(ConfigError, match=message):
        load_plan("mine", home)


def test_a_pruner_that_can_compare_nothing_is_refused(home):
    make_stage(home, base=("rounds=3",), pruner=BY_ROUNDS).check()
    with pytest.raises(ConfigError, match=r"pruner\.warmup_rounds: expected at most 2"):
        make_stage(home, base=("rounds=2",), pruner=BY_ROUNDS).check()
    varied = {"rounds": {"low": 5, "high": 9}}
    make_stage(home, space=varied).check()
    with pytest.raises(ConfigError, match="expected none where the space varies rounds"):
        make_stage(home, space=varied, pruner=BY_ROUNDS).check()
