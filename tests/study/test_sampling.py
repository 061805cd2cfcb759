"""Seeded studies repeat themselves; resumed ones do not repeat their first suggestions."""

import inspect

import optuna
import pytest

from fl_platform.config import ConfigError
from fl_platform.study.samplers import OPTIONS, SAMPLERS, build_sampler
from fl_platform.study.spec import Sampler
from fl_platform.study.storage import open_storage
from tests.study.fake import install, make_problem, run_worker

NAMES = ["tpe", "gp", "cmaes", "qmc", "random"]
SPACE = {"attack.nu": {"low": 0.1, "high": 4.0}, "attack.share": {"low": 0.1, "high": 0.9}}


def proposals(study):
    return [trial.params["attack.nu"] for trial in study.trials]


@pytest.mark.parametrize("name", NAMES)
def test_a_seeded_study_gives_the_same_trials_twice_also_when_resumed(
    home, tmp_path, monkeypatch, name
):
    install(monkeypatch)
    settings = {"name": name, "seed": 3}
    if name in ("tpe", "gp"):
        settings["options"] = {"n_startup_trials": 3}
    sampler = Sampler(**settings)
    once, _, _ = run_worker(make_problem(home, name="once", trials=8, sampler=sampler))
    again, _, _ = run_worker(make_problem(home, name="again", trials=8, sampler=sampler))
    for trials in (3, 3, 2):
        parts, _, _ = run_worker(make_problem(home, name="parts", sampler=sampler), trials=trials)
    assert proposals(once) == proposals(again) == proposals(parts)
    assert len(set(proposals(once))) == 8
    other = Sampler(**{**settings, "seed": 4})
    study, _, _ = run_worker(make_problem(home, name="other", trials=8, sampler=other))
    assert proposals(study) != proposals(once)


def test_one_seed_for_every_process_would_repeat_the_first_suggestions():
    """The negative control, and the reason why the seed depends on the number of trials."""
    study = optuna.create_study()
    for _ in range(2):
        study.sampler = optuna.samplers.TPESampler(seed=3)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    values = [trial.params["x"] for trial in study.trials]
    assert values[:3] == values[3:]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_is_one_of_optuna_s(name):
    cls = getattr(optuna.samplers, SAMPLERS[name])
    assert set(OPTIONS[name]) <= set(inspect.signature(cls.__init__).parameters)


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(ConfigError, match="did you mean 'n_startup_trials'"):
        build_sampler(Sampler(options={"n_startup": 3}), 0)


def test_tpe_finds_the_valley(home, monkeypatch):
    """That proposals listen to values at all: better than the same number of random ones."""
    install(monkeypatch)
    settings = Sampler(name="tpe", options={"n_startup_trials": 5})
    tpe, _, _ = run_worker(make_problem(home, name="tpe", trials=25, sampler=settings))
    late = proposals(tpe)[15:]
    drawn, _, _ = run_worker(
        make_problem(home, name="random", trials=25, sampler=Sampler(name="random"))
    )

    def miss(values):
        return sum(abs(nu - 2.5) for nu in values) / len(values)

    assert miss(late) < 0.75 * miss(proposals(drawn))


def test_the_storage_is_made_once_and_private(home):
    open_storage(home)
    file = home / "mlruns" / "optuna.db"
    before = file.stat().st_ino
    open_storage(home)
    assert file.stat().st_ino == before
    assert file.stat().st_mode & 0o777 == 0o600
