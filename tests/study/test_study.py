"""The verb: from a file to honest numbers, in one process and on real, short runs."""

import json
import signal
import sys

import pytest

from fl_platform import cli
from fl_platform.config import config_hash
from fl_platform.study.final_comparison import Sample
from fl_platform.study.printing import show_samples
from fl_platform.study.runner import study_name, tune
from fl_platform.study.storage import open_storage
from fl_platform.tracking import uploader
from fl_platform.tracking.journal import read
from fl_platform.tracking.mlflow.sync import reap
from fl_platform.tracking.run_folder import all_runs, run_folder
from tests.study.fake import install, make_problem

NU = "strike_nu/defense=multi_krum,task=digits"


@pytest.fixture
def call(home, monkeypatch, capsys):
    """Call the command line; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl-platform", *arguments, "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_the_name_does_not_depend_on_order_or_on_how_it_is_run():
    typed = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
    assert study_name("strike_nu", typed) == study_name("strike_nu", typed[1::-1]) == NU
    assert study_name("rfa", []) == "rfa"


def test_trials_are_added_and_shown(call, monkeypatch):
    begun = install(monkeypatch)
    typed = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
    assert call("tune", "strike_nu", *typed, "--trials", "2")[0] == 0
    code, out, _ = call("tune", "strike_nu", *typed, "--trials", "1")
    assert code == 0
    assert "3 complete" in out
    assert "task digits, attack strike, defense " in out
    assert "fl-platform ui --studies" in out
    assert len(begun) == 6
    assert all(config.seed < 1000 for config in begun)  # the test set waits for the budget
    code, out, _ = call("tune", "--show", "strike_nu")
    assert code == 0
    assert NU in out
    assert "attack.nu=1" in out


def test_the_test_set_is_touched_once_when_the_budget_is_met(home, monkeypatch, capsys):
    begun = install(monkeypatch)
    typed = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
    outcome = tune("strike_nu", typed, home)
    assert (outcome.name, outcome.complete) == (NU, True)
    looked = [config for config in begun if config.seed >= 1000]
    assert len(looked) == 10
    assert len(begun) == 20 * 2 + 10
    assert "±: half-width" in capsys.readouterr().out
    tune("strike_nu", typed, home)  # nothing is left to do, and nothing is looked at again
    assert len(begun) == 50


def test_a_sweep_is_a_study_for_each_value(call, monkeypatch):
    begun = install(monkeypatch)
    typed = ["task=digits", "defense=median,rfa", "runtime.tracking=journal"]
    assert call("tune", "strike_nu", *typed, "--trials", "1")[0] == 0
    assert {config.defense["_target_"] for config in begun} == {
        "fl_platform.defenses.median",
        "fl_platform.defenses.rfa",
    }


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["strike"], "did you mean 'strike_nu'", 2),
        (["strike_nu", "defense=krumm"], "krumm", 2),
        (["strike_nu", "attack.nu=1"], "the study file sets this key", 2),
        (["strike_nu", "seed=1"], "the study file sets this key", 2),
        (["--show", "nothing"], "there is no study 'nothing'", 2),
        ([], "expected a file of tuning/", 2),
        (["strike_nu", "--storage", "postgresql://me:secret@nowhere.invalid/x"], "Cannot open", 4),
    ],
)
def test_what_cannot_be_begun_is_refused_and_leaves_no_run(call, home, arguments, told, code):
    ended, _, err = call("tune", *arguments)
    assert ended == code
    assert told in err
    assert "secret" not in err
    assert not list(all_runs(home))


def test_a_worker_that_is_asked_to_stop_leaves_with_the_signal_s_code(call, monkeypatch):
    import os

    install(monkeypatch, before=lambda c: os.kill(os.getpid(), signal.SIGTERM))
    code, out, _ = call("tune", "strike_nu", "task=digits", "runtime.tracking=journal")
    assert code == 128 + signal.SIGTERM
    assert "1 fail" in out
    assert "1 waiting" in out


def test_a_file_may_keep_its_study_out_of_mlflow(home, monkeypatch):
    install(monkeypatch)
    text = (home / "tuning" / "strike_nu.yaml").read_text()
    (home / "tuning").unlink()
    (home / "tuning").mkdir()
    base = "observers=none, runtime.tracking=journal"
    (home / "tuning" / "mine.yaml").write_text(text.replace("observers=none", base))
    tune("mine", ["task=digits", "defense=median"], home, trials=1)
    assert not (home / "mlruns" / "mlflow.db").exists()
    tune("mine", ["task=digits", "defense=median", "runtime.tracking=mlflow"], home, trials=1)
    uploader.finish()
    assert (home / "mlruns" / "mlflow.db").exists()  # what is typed wins


def test_every_number_of_the_test_set_is_shown_however_narrow_the_screen(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    told = "tuned: defense.tau=17.94 attack.nu=3.523 task.local.lr=0.0512"
    seeds, test = tuple(range(1000, 1005)), (11.1, 22.2, 33.3, 44.4, 55.5)
    show_samples([Sample("default", (), seeds, test, test), Sample(told, (), seeds, test, test)])
    words = capsys.readouterr().out.split()
    assert "…" not in "".join(words)
    for value in test:
        assert words.count(f"{value}") == 2


def test_trials_are_children_of_the_study_in_mlflow_with_pictures_and_a_file(home):
    from fl_platform.tracking.mlflow import store

    typed = ["task=digits", "defense=multi_krum", "rounds=2"]
    outcome = tune("strike_nu", typed, home, trials=2)
    uploader.finish()
    client = store.connect(home)
    experiment = client.get_experiment_by_name("tuning")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == f"study {outcome.name}"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId")]
    assert len(children) == 4
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}
    trials = {c.data.tags["optuna.trial"] for c in children}
    assert trials == {f"{outcome.name}#0", f"{outcome.name}#1"}
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"best.yaml", "history.png", "slice.png"} <= artifacts
    assert parent.data.metrics["study/value"] > 0
    assert (parent.data.tags["kind"], parent.info.status) == ("study", "SCHEDULED")
    assert {"commit", "dirty", "code_fingerprint"} <= parent.data.tags.keys()
    assert "attack.nu" in parent.data.params["study.space"]
    assert "task=digits" in parent.data.params["study.base"]
    assert not list(reap(home))  # it ended normally
    # and back: the trials name the runs
    import optuna

    study = optuna.load_study(study_name=outcome.name, storage=open_storage(home))
    linked = {run for trial in study.trials for run in trial.user_attrs["runs"]}
    assert linked == {child.data.tags["fl_run_id"] for child in children}


def test_what_a_killed_worker_did_not_bring_is_brought_by_the_next(home, monkeypatch):
    from fl_platform.study.session import WorkerSession
    from fl_platform.tracking.mlflow import store

    begun = install(monkeypatch)
    with monkeypatch.context() as patch:  # it died after its trial and before its last word
        patch.setattr(WorkerSession, "upload", lambda self, folder: None)
        tune("strike_nu", ["defense=multi_krum"], home, trials=1)
    tune("strike_nu", ["defense=median"], home, trials=1)  # another study brings its own alone
    uploader.finish()
    client = store.connect(home)
    number = client.get_experiment_by_name("tuning").experiment_id
    assert len(client.search_runs([number])) == 3
    tune("strike_nu", ["defense=multi_krum"], home, trials=1)
    uploader.finish()
    runs = client.search_runs([number])
    assert len(runs) == len(begun) + 2 == 8
    assert sum("mlflow.parentRunId" in run.data.tags for run in runs) == len(begun)


def test_a_study_s_run_is_no_result(home, monkeypatch):
    """Reports read accuracies off runs: the study's own run has none to be mistaken for one."""
    from fl_platform.tracking.frames import runs

    install(monkeypatch)
    tune("strike_nu", ["defense=multi_krum", "runtime.tracking=journal"], home, trials=1)
    frame = runs(home, "folders")
    parent = frame[frame.name.str.startswith("study ")]
    assert len(parent) == 1
    assert parent.accuracy_tail.isna().all()
    assert (frame.experiment == "tuning").all()


def test_pictures_of_a_stealthy_study_show_the_trade_off(home, tmp_path, monkeypatch):
    from fl_platform.study.export import plot_study
    from tests.study.fake import run_worker

    install(monkeypatch)
    monkeypatch.setattr(
        "fl_platform.study.objective.weight_share", lambda config, home: config.attack["nu"]
    )
    problem = make_problem(home, trials=6, stealth=2.0)
    study, objective, _ = run_worker(problem)
    names = {path.name for path in plot_study(study, tmp_path, "accuracy")}
    assert names == {"history.png", "slice.png", "pareto.png"}
    assert study.best_params["attack.nu"] <= 2.0
    assert read(run_folder(home, objective.hashes[0]).journal).status == "FINISHED"
    assert config_hash(problem.config(study.best_params, 0)) in objective.hashes
    assert json.dumps(study.user_attrs["identity"])


def test_a_study_of_one_value_has_no_pictures(home, tmp_path, monkeypatch):
    from fl_platform.study.export import plot_study
    from tests.study.fake import run_worker

    install(monkeypatch, accuracy=lambda config: 50.0)
    study, _, _ = run_worker(make_problem(home, trials=3))
    assert plot_study(study, tmp_path, "accuracy") == []


@pytest.mark.parametrize("how", ["deleted", "held"])
def test_a_storage_that_fails_inside_a_study_is_told_in_one_line(call, home, monkeypatch, how):
    import sqlite3

    import optuna

    from fl_platform.study import storage

    holders = []

    def spoil(config):
        if how == "deleted":
            optuna.delete_study(study_name=NU, storage=open_storage(home))
        elif not holders:
            holders.append(sqlite3.connect(storage.database(home), isolation_level=None))
            holders[0].execute("BEGIN EXCLUSIVE")

    install(monkeypatch, before=spoil)
    monkeypatch.setattr(storage, "TIMEOUT", 0.5)
    typed = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
    code, _, err = call("tune", "strike_nu", *typed, "--trials", "2")
    for holder in holders:
        holder.close()
    assert code == 4
    told = [line for line in err.splitlines() if line.startswith("fl-platform: ")]
    assert len(told) == 1
    assert "the same command continues" in told[0]
    assert "Traceback" not in err
    install(monkeypatch)
    assert call("tune", "strike_nu", *typed, "--trials", "2")[0] == 0


def test_a_home_with_signs_of_addresses_keeps_its_studies_inside(home, tmp_path, monkeypatch):
    place = tmp_path / "what? {x} %41#"
    place.mkdir()
    for name in ("conf", "tuning"):
        (place / name).symlink_to((home / name).resolve())
    install(monkeypatch)
    typed = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]
    assert tune("strike_nu", typed, place, trials=1).name == NU
    assert (place / "mlruns" / "optuna.db").is_file()


def test_a_folder_that_cannot_be_written_is_named_as_the_cause(home, monkeypatch):
    from fl_platform.study import storage
    from fl_platform.tracking.mlflow.store import StoreError

    def refuse(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(storage, "_create", refuse)
    with pytest.raises(StoreError, match=r"Permission denied: .*optuna\.db") as refused:
        open_storage(home)
    assert "PostgreSQL" not in str(refused.value)


def test_the_dashboard_names_the_axis(home):
    from fl_platform.study.problem import open_study

    study = open_study(make_problem(home), open_storage(home))
    assert study.metric_names == ["validation accuracy (%)"]
