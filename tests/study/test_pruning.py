"""Trials that end early: a signed-rank test over seeds, and only where the file asks for it."""

import optuna
import pytest

from fl_platform.config import ConfigError
from fl_platform.study.final_comparison import best_trial
from fl_platform.study.printing import show_study
from fl_platform.study.samplers import build_pruner
from fl_platform.study.spec import Pruner, load_spec
from tests.study.fake import install, make_problem, run_worker

SEEDS = list(range(7))
POINTS = [{"attack.nu": nu} for nu in (0.5, 0.6, 3.0)]


def accuracy(config):
    """Grows with nu, so that the attacker's best is the smallest; seeds differ a little."""
    return config.attack["nu"] * 20 + config.seed * 0.37


def trials(home, monkeypatch, pruner, **changes):
    begun = install(monkeypatch, accuracy=accuracy)
    settings = {"trials": 3, "start": POINTS, "seeds": SEEDS, "pruner": pruner} | changes
    study, _, report = run_worker(make_problem(home, **settings))
    assert report.trials == 3
    return study, begun


def test_a_worse_trial_ends_after_some_seeds_and_is_no_result(home, monkeypatch, capsys):
    study, begun = trials(home, monkeypatch, Pruner(name="wilcoxon", startup_seeds=2))
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert study.best_params == {"attack.nu": 0.5}
    lost = study.trials[2]
    assert 2 <= len(lost.user_attrs["runs"]) < len(SEEDS)
    assert [c.seed for c in begun if c.attack["nu"] == 3.0] == SEEDS[: len(lost.user_attrs["runs"])]
    assert best_trial(study).number == 0
    show_study(study)
    assert "1 complete, 2 pruned" in capsys.readouterr().out


def test_every_seed_is_reported_once_in_the_order_of_the_file(home, monkeypatch):
    study, _ = trials(home, monkeypatch, Pruner(name="wilcoxon"))
    told = study.trials[0].intermediate_values
    assert told == pytest.approx({step: 10.0 + seed * 0.37 for step, seed in enumerate(SEEDS)})
    assert study.trials[0].value == pytest.approx(sum(told.values()) / len(told))


def test_without_a_pruner_every_trial_runs_all_seeds(home, monkeypatch):
    study, begun = trials(home, monkeypatch, Pruner())
    assert {t.state.name for t in study.trials} == {"COMPLETE"}
    assert len(begun) == 3 * len(SEEDS)


def test_every_trial_runs_the_startup_seeds(home, monkeypatch):
    study, _ = trials(home, monkeypatch, Pruner(name="wilcoxon", startup_seeds=6))
    runs = [len(t.user_attrs["runs"]) for t in study.trials]
    assert runs[0] == 7
    assert min(runs) >= 6


def test_a_pruner_is_built_by_name():
    assert isinstance(build_pruner(Pruner()), optuna.pruners.NopPruner)
    assert isinstance(build_pruner(Pruner(name="wilcoxon")), optuna.pruners.WilcoxonPruner)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p_threshold": 0}, "p_threshold: expected above 0 and below 1"),
        ({"startup_seeds": 1}, "startup_seeds: expected a number >= 2"),
        ({"name": "median"}, "wilcoxon"),
        ({"by": "rounds"}, "by"),
    ],
)
def test_a_pruner_that_cannot_work_is_refused(home, settings, message):
    text = (home / "tuning" / "strike_nu.yaml").read_text(encoding="utf-8")
    (home / "tuning").unlink()
    (home / "tuning").mkdir()
    values = {"name": "wilcoxon", **settings}
    inside = ", ".join(f"{key}: {value}" for key, value in values.items())
    mine = home / "tuning" / "mine.yaml"
    mine.write_text(text.replace("{name: none}", f"{{{inside}}}"), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_spec("mine", home)


def test_a_pruner_needs_more_seeds_than_every_trial_runs(home):
    pruner = Pruner(name="wilcoxon", startup_seeds=2)
    make_problem(home, seeds=[0, 1, 2], pruner=pruner).check()
    with pytest.raises(ConfigError, match=r"pruner\.startup_seeds: expected fewer than 2"):
        make_problem(home, seeds=[0, 1], pruner=pruner).check()
