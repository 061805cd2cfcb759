"""The comparison on the test set, the file of the best settings, and the game."""

import math

import pytest
from scipy import stats

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.core.process import Stopper
from fl_platform.study.export import override_file
from fl_platform.study.final_comparison import (
    Sample,
    as_json,
    difference,
    fresh_seeds,
    from_json,
    interval,
)
from fl_platform.study.minimax import default_point, solve
from fl_platform.study.runner import assemble
from fl_platform.study.session import WorkerSession
from fl_platform.study.spec import load_spec
from fl_platform.study.storage import open_storage
from fl_platform.study.trial_loop import Limits
from tests.study.fake import install, make_problem


def test_an_interval_is_student_s():
    values = [1.0, 2.0, 3.0, 6.0]
    mean, half = interval(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert interval([5.0]) == (5.0, math.inf)


def test_a_difference_is_taken_seed_by_seed():
    a = Sample("a", (), (0, 1, 2), (50.0, 60.0, 70.0), (0.0,) * 3)
    b = Sample("b", (), (0, 1, 2), (49.0, 59.0, 69.0), (0.0,) * 3)
    assert difference(a, b) == pytest.approx((1.0, 0.0))
    assert interval(a.test)[1] > 10  # the spread over seeds is in both and cancels
    assert from_json(as_json([a, b])) == [a, b]


def test_fresh_seeds_are_none_of_the_study_s_nor_of_an_earlier_look(home):
    problem = make_problem(home)
    first, second = fresh_seeds(problem, 0), fresh_seeds(problem, 1)
    assert len({*first, *second, *problem.spec.seeds}) == 12


def test_the_best_settings_are_a_file_that_gives_the_same_run(tmp_path, home):
    typed = ["task=digits", "attack=strike", "defense=multi_krum", "mixing=nnm", "rounds=7"]
    typed += ["attack.nu=0.73125", "defense.averaged=17", "task.local.lr=0.05"]
    (home / "conf").unlink()
    import shutil

    from tests.study.conftest import REPOSITORY

    shutil.copytree(REPOSITORY / "conf", home / "conf")
    text = override_file([*typed, "runtime.progress=none"], "found somewhere")
    (home / "conf" / "experiment" / "best.yaml").write_text(text)
    asked = compose(["experiment=best"], home)
    assert config_hash(asked) == config_hash(compose(typed, home))
    assert config_hash(asked) != config_hash(compose(typed[:-1], home))
    assert asked.runtime.progress == "auto"


def test_a_default_point_is_read_off_the_configuration(home):
    problem = make_problem(home)
    config = problem.config({}, 0)
    assert default_point(config, problem.space) == {"attack.nu": 1.0}
    narrow = make_problem(home, space={"attack.nu": {"low": 2.0, "high": 4.0}})
    assert default_point(config, narrow.space) == {}


def payoff(config):
    """Strike hurts where nu is near tau; lie hurts the less the smaller tau is.

    At tau = 10 no nu within reach hurts, lie does; a defender that only heard of lie would go to
    the smallest tau, where strike has its nu.
    """
    tau = config.defense["tau"]
    if config.attack["_target_"].endswith("strike"):
        return 50.0 + 5.0 * min(abs(config.attack["nu"] - tau), 6.0)
    return 80.0 - 2.0 * tau + config.attack["z"]


@pytest.fixture
def game(home, monkeypatch):
    """A game of three turns on the payoff above; the runs it made and its session's studies."""
    begun = install(monkeypatch, accuracy=payoff)
    spec = load_spec("worst_case", home)
    typed = ["defense=centered_clipping", "task=digits"]
    table = assemble(spec, "game", typed, home, ())
    with Stopper() as stopper:
        session = WorkerSession(home, open_storage(home), stopper, Limits(), "journal")
        assert solve(session, table)
    return begun, session.storage


def test_a_game_alternates_and_the_attacker_has_the_last_word(game):
    import optuna

    _, storage = game
    book = optuna.load_study(study_name="game", storage=storage)
    position = book.user_attrs["position"]
    assert list(position["values"]) == [
        "1-attack/strike", "1-attack/lie", "2-defense", "3-attack/strike", "3-attack/lie",
    ]  # fmt: skip
    first = optuna.load_study(study_name="game/1-attack/strike", storage=storage)
    assert first.trials[0].params == {"attack.nu": 1.0}
    defense = optuna.load_study(study_name="game/2-defense", storage=storage)
    assert defense.trials[0].params == {"defense.tau": 10.0, "defense.iterations": 1}
    # a defender's trial is worth the worst of both attacks, each at its best strength
    nu = position["strengths"]["strike"][0]["attack.nu"]
    z = position["strengths"]["lie"][0]["attack.z"]
    for trial in defense.trials:
        tau = trial.params["defense.tau"]
        lie = 80.0 - 2.0 * tau + z
        strike = 50.0 + 5.0 * min(abs(nu - tau), 6.0)
        assert trial.value == pytest.approx(min(strike, lie))
    assert position["values"]["2-defense"] >= defense.trials[0].value
    # the answer can only lower what the defender believed
    last = min(position["values"][f"3-attack/{attack}"] for attack in ("strike", "lie"))
    assert last <= position["values"]["2-defense"]
    third = optuna.load_study(study_name="game/3-attack/strike", storage=storage)
    begins = list(dict.fromkeys([1.0, nu]))  # its default, and what was best before
    assert [t.params["attack.nu"] for t in third.trials[: len(begins)]] == begins


def test_a_game_compares_every_attack_before_and_after_on_fresh_seeds(game):
    import optuna

    begun, storage = game
    book = optuna.load_study(study_name="game", storage=storage)
    samples = from_json(book.user_attrs["final"][0]["samples"])
    assert len(samples) == 10
    assert {sample.seeds for sample in samples} == {(1000, 1001, 1002, 1003, 1004)}
    assert sum(c.seed >= 1000 for c in begun) <= 50


def test_a_game_that_was_stopped_goes_on_where_it_was(home, monkeypatch):
    begun = install(monkeypatch, accuracy=payoff)
    spec = load_spec("worst_case", home)
    table = assemble(spec, "game", ["defense=centered_clipping"], home, ())
    with Stopper() as stopper:
        assert not solve(
            WorkerSession(home, open_storage(home), stopper, Limits(10), "journal"), table
        )
        before = len(begun)
        assert solve(WorkerSession(home, open_storage(home), stopper, Limits(), "journal"), table)
    hashes = [config_hash(config) for config in begun]
    assert before >= 20
    assert len(set(hashes)) == len(hashes)


def test_a_game_with_a_defense_that_has_nothing_to_tune_is_refused(home, monkeypatch):
    begun = install(monkeypatch)
    table = assemble(load_spec("worst_case", home), "game", ["defense=median"], home, ())
    session = WorkerSession(home, open_storage(home), Stopper(), Limits(), "journal")
    with pytest.raises(ConfigError, match="defense: expected a defense with a file tuning/median"):
        solve(session, table)
    assert begun == []
