"""A trial's value, its links, and what it does with runs that end badly."""

import math

import optuna
import pytest

from fl_platform.config import ConfigError, config_hash
from fl_platform.run import runner as running
from fl_platform.study.constraint import refuse_weightless, weight_share
from fl_platform.study.objective import worst
from fl_platform.study.problem import open_study
from fl_platform.study.runner import tune
from fl_platform.study.storage import open_storage
from fl_platform.study.study_run import join_parent
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.mlflow.sync import reap
from fl_platform.tracking.run_folder import all_runs, run_folder
from tests.study.conftest import REPOSITORY
from tests.study.fake import install, make_problem, run_worker

QUIET = ("runtime.progress=none", "runtime.tracking=journal")


def test_the_value_is_the_mean_over_seeds_and_linked_both_ways(home, monkeypatch):
    install(monkeypatch)
    problem = make_problem(home, trials=1, start=[{"attack.nu": 1.5}])
    study, objective, _ = run_worker(problem)
    (trial,) = study.trials
    assert trial.value == pytest.approx(60.5)
    assert trial.user_attrs["values"] == [[60.0, 61.0]]
    for seed, identity in enumerate(objective.hashes):
        folder = run_folder(home, identity)
        assert folder.describe()["run_id"] == trial.user_attrs["runs"][seed]
        assert folder.describe()["parent_run_id"] == objective.parent.run_id
        tags = read(folder.journal).tags
        assert tags["optuna.study"] == "study"
        assert tags["optuna.trial"] == "study#0"


def test_two_studies_share_a_run_and_both_are_named_on_it(home, monkeypatch):
    begun = install(monkeypatch)
    start = [{"attack.nu": 1.5}]
    run_worker(make_problem(home, name="first", trials=1, start=start))
    _, objective, _ = run_worker(make_problem(home, name="second", trials=1, start=start))
    assert len(begun) == 2
    tags = read(run_folder(home, objective.hashes[0]).journal).tags
    assert tags["optuna.trial"] == "first#0 second#0"


def test_a_run_that_diverges_is_a_result_at_chance(home, monkeypatch):
    install(monkeypatch, accuracy=lambda c: math.nan if c.seed else 50.0)
    study, _, report = run_worker(make_problem(home, trials=1))
    assert study.trials[0].state.name == "COMPLETE"
    assert study.trials[0].user_attrs["values"] == [[50.0, 10.0]]  # ten classes
    assert report.trials == 1


def test_a_real_run_that_diverges_is_a_result_at_chance(home):
    base = ("defense=mean", "task.local.lr=1e30", "task.local.clip=null", "rounds=2")
    problem = make_problem(home, trials=1, base=(*base, "runtime.progress=none"))
    study, _, _ = run_worker(problem)
    assert study.trials[0].value == 10.0


def test_the_worst_rival_counts_for_whoever_tunes():
    scores = [[80.0, 90.0], [60.0, 70.0]]
    assert worst(scores, "maximize") == 65.0
    assert worst(scores, "minimize") == 85.0


def test_a_run_left_by_other_code_is_begun_afresh(home):
    base = ("defense=multi_krum", "rounds=2", "runtime.progress=none")
    problem = make_problem(home, trials=1, base=base, start=[{"attack.nu": 1.0}])
    folder = run_folder(home, config_hash(problem.config({"attack.nu": 1.0}, 0))).create()
    folder.create_or_verify(
        name="old",
        config_hash=config_hash(problem.config({"attack.nu": 1.0}, 0)),
        experiment="tuning",
        conditions={"code_fingerprint": "another"},
    )
    study, _, _ = run_worker(problem)
    assert study.trials[0].state.name == "COMPLETE"
    assert len(list(folder.path.parent.glob(f"{folder.path.name}.*"))) == 1  # kept beside


def test_the_share_of_weight_is_over_what_is_fair(home, monkeypatch):
    """Ten of 50 rows are Byzantine: a weight of 0.1 is half of their fair 0.2."""
    install(monkeypatch)
    problem = make_problem(home, trials=1, stealth=1.0, start=[{"attack.nu": 1.0}])
    config = problem.config({"attack.nu": 1.0}, 0)
    objective = run_once(problem, config)
    journal = Journal(run_folder(home, objective).journal)
    journal.metrics(1, {"round/byzantine_weight": 0.1})
    journal.metrics(2, {"round/byzantine_weight": 0.3, "round/byzantine": 10.0})
    journal.metrics(3, {"round/byzantine_weight": 0.9, "round/byzantine": 0.0})  # nobody there
    journal.close()
    assert weight_share(config, home) == pytest.approx((0.5 + 1.5) / 2)


def run_once(problem, config):
    running.run(config, problem.home)
    return config_hash(config)


@pytest.mark.parametrize(
    "defense", sorted(path.stem for path in (REPOSITORY / "conf" / "defense").glob("*.yaml"))
)
def test_stealth_refuses_rules_without_weights_before_anything_is_run(home, defense):
    """What a real round logs is the judge."""
    needs = {"fltrust": ("task.root_samples=50",), "smea": ("task.clients=12",)}.get(defense, ())
    base = (f"defense={defense}", "rounds=1", *needs, *QUIET)
    config = make_problem(home, base=base).config({}, 0)
    running.run(config, home)
    logged = read(run_folder(home, config_hash(config)).journal).curve("round/byzantine_weight")
    if logged:
        refuse_weightless(config)
    else:
        with pytest.raises(ConfigError, match=f"weights updates .* got {defense}"):
            refuse_weightless(config)


def test_a_stealthy_study_of_a_weightless_rule_is_refused_by_the_command(home, monkeypatch):
    begun = install(monkeypatch)
    with pytest.raises(ConfigError, match="stealth: expected a defense whose rule weights updates"):
        tune("stealth", ["defense=median", "task=digits"], home)
    assert begun == []
    assert optuna.get_all_study_names(open_storage(home)) == []


def test_a_visible_attack_never_wins_a_stealthy_study(home):
    """A real pair of runs: at nu = 4 Multi-Krum throws the Byzantine rows out, at 0.5 not."""
    base = ("defense=multi_krum", "rounds=2", "runtime.progress=none")
    points = [{"attack.nu": 0.3}, {"attack.nu": 4.0}]
    problem = make_problem(home, trials=2, base=base, stealth=0.5, start=points)
    study, _, _ = run_worker(problem)
    quiet, loud = study.trials
    assert loud.user_attrs["weight_share"] < quiet.user_attrs["weight_share"]
    assert quiet.constraints["weight_share"] > 0 >= loud.constraints["weight_share"]
    assert study.best_trial.number == loud.number  # whatever the accuracies are


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"space": {"attack.nu": {"low": 0.1, "high": 3.0}}}, "space.attack.nu.high: 4.0 -> 3.0"),
        ({"base": ("rounds=7",)}, "base.rounds: 60 -> 7"),
        ({"seeds": [0, 2]}, r"seeds: \[0, 1\] -> \[0, 2\]"),
        ({"direction": "maximize"}, "direction"),
    ],
)
def test_another_study_under_the_same_name_is_refused_by_name(home, change, told):
    storage = open_storage(home)
    open_study(make_problem(home), storage)
    open_study(make_problem(home), storage)  # the same one is joined
    with pytest.raises(ConfigError, match=told):
        open_study(make_problem(home, **change), storage)


def test_a_key_that_no_rule_has_is_refused_before_any_training(home):
    problem = make_problem(home, space={"attack.mu": {"low": 0.1, "high": 1.0}})
    with pytest.raises(ConfigError, match=r"attack\.mu"):
        problem.check()
    beyond = make_problem(home, space={"attack.nu": {"low": -1.0, "high": 1.0}})
    with pytest.raises(ConfigError, match=r"attack\.nu"):
        beyond.check()


def test_a_study_without_validation_samples_is_refused(home):
    with pytest.raises(ConfigError, match=r"task\.validation: expected a share above 0"):
        make_problem(home, base=("task.validation=0.0",)).check()


def test_the_starting_points_are_queued_once(home):
    storage = open_storage(home)
    problem = make_problem(home, start=[{"attack.nu": 1.0}])
    for _ in range(2):
        study = open_study(problem, storage)
    assert len(study.trials) == 1
    assert study.trials[0].state == optuna.trial.TrialState.WAITING


def test_a_second_machine_means_the_same_parent(home, tmp_path):
    study = open_study(make_problem(home), open_storage(home))
    here = join_parent(study, home, "study")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert join_parent(study, elsewhere, "study").run_id == here.run_id
    assert join_parent(study, home, "study").run_id == here.run_id


def test_a_study_that_was_deleted_and_begun_again_has_another_parent(home, recwarn):
    storage = open_storage(home)
    first = join_parent(open_study(make_problem(home), storage), home, "study")
    first.note(values=[(0, {"study/value": 10.0})])
    optuna.delete_study(study_name=make_problem(home).name, storage=storage)
    study = open_study(make_problem(home), storage)
    with pytest.raises(RunOwned):  # a worker of the first is still there
        join_parent(study, home, "study")
    first.leave("FINISHED")
    second = join_parent(study, home, "study")
    second.note(values=[(0, {"study/value": 7.0})])
    assert second.run_id != first.run_id
    history = read(second.folder.journal)
    assert history.curve("study/value") == [(0, 7.0)]
    assert not history.alarms
    assert len([run for run in all_runs(home) if run.describe()["name"] == "study study"]) == 2


def test_workers_share_a_parent_and_the_last_one_says_how_it_stands(home):
    study = open_study(make_problem(home), open_storage(home))
    first, second = (join_parent(study, home, "study") for _ in range(2))
    first.note(status="RUNNING")
    first.leave("SCHEDULED", "trials are missing")
    assert read(first.folder.journal).status == "RUNNING"
    assert not list(reap(home))  # somebody is at work
    second.leave("FINISHED")
    assert read(first.folder.journal).status == "FINISHED"

    def fail():
        with join_parent(study, home, "study") as third:
            third.note(status="RUNNING")
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        fail()
    assert read(first.folder.journal).status == "FAILED"
