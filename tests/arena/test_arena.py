"""The arena end to end on a few rounds of digits: its runs are runs, and it finds what is there."""

import json

import numpy as np
import pytest
import yaml

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.core.process import Stopped
from fl_platform.run import build
from fl_platform.run.runner import run
from fl_platform.study.arena import batch, runner
from fl_platform.study.arena.batch import ArenaSetting, play
from fl_platform.study.arena.search import NONE, Played, Trial
from fl_platform.study.arena.spec import load_arena
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder

BASE = ("task=digits", "observers=none", "task.samples=400")
MOMENTUM = ("server.optimizer=fedavgm", "server.momentum=0.8")
SETTINGS = [
    ("defense=dnc", "mixing=unit_rows", *MOMENTUM),
    ("defense=foolsgold", "worker.momentum=0.5", "server.schedule.kind=milestones",
     "server.schedule.at=[2]"),
]  # fmt: skip
ATTACKS = [
    NONE,
    ("attack=bit_flip",),
    ("attack=label_flip",),
    ("attack=fang", "attack.evaluations=3"),
    ("attack=directional", "attack.direction=undo", "attack.scatter=orthogonal"),
]


def curve_of_a_run(overrides, home, on):
    config = compose(overrides, home)
    assert run(config, home).status == "FINISHED"
    return [100 * v for _, v in read(run_folder(home, config_hash(config)).journal).curve(on)]


@pytest.mark.parametrize("own", SETTINGS)
def test_runs_side_by_side_are_the_runs_of_the_platform(home, own):
    setting = ArenaSetting(home, BASE + own, own[:2], 0.2)
    trials = [Trial(attack, 3, "validation", 3) for attack in ATTACKS]
    for trial, played, _ in play(setting, trials):
        expected = curve_of_a_run(setting.overrides(trial), home, "validation/accuracy")
        # Sums in another order: the updates differ in their last bits, an image may change sides.
        assert played.curve == pytest.approx(expected, abs=100 / 80 + 1e-6), trial.attack


def test_the_reference_is_the_plain_mean(home):
    setting = ArenaSetting(home, (*BASE, "defense=dnc", "defense.filter=2"), ("defense=dnc",
                      "defense.filter=2"), 0.2)  # fmt: skip
    config = setting.config(Trial(NONE, 0, "test", 2, reference=True))
    assert config.defense["_target_"].endswith(".mean")
    assert (config.mixing, config.task.validation, config.rounds) == ([], 0.0, 2)


def rows(outcome):
    return json.dumps([each.to_json() for each in outcome.standings])


def test_a_stopped_arena_goes_on_to_the_same_rows(home, tmp_path_factory, monkeypatch):
    whole = runner.run_arenas(["defense=median", "rounds=2"], home, say=lambda text: None)
    assert whole.exit_code == 0
    calls = []

    def stops(setting, trials, should_stop):
        calls.append(trials)
        if len(calls) == 3:
            raise Stopped("asked")
        return play(setting, trials, should_stop)

    other = tmp_path_factory.mktemp("other")
    for name in ("conf", "tuning"):
        (other / name).symlink_to(home / name)
    monkeypatch.setattr(runner, "play", stops)
    part = runner.run_arenas(["defense=median", "rounds=2"], other, say=lambda text: None)
    assert (part.standings, part.unfinished, part.exit_code) == ([], 1, 1)
    monkeypatch.setattr(runner, "play", play)
    again = runner.run_arenas(
        ["defense=median", "rounds=2"], other, out=other / "out", say=lambda text: None
    )
    assert rows(again) == rows(whole)
    assert rows(again) == json.dumps(json.loads((other / "out/arena.json").read_text()))


def test_selection_reads_no_test_data_and_finds_the_mean_weak(home, monkeypatch):
    class Guarded(dict):
        def __getitem__(self, name):
            assert name == "validation", "a validation run asked for the test set"
            return super().__getitem__(name)

    load = build.load_population

    def guarded(config, place):
        population = load(config, place)
        if config.task.validation:
            object.__setattr__(population, "held_out", Guarded(population.held_out))
        return population

    monkeypatch.setattr(build, "load_population", guarded)
    monkeypatch.setattr(batch, "_POPULATIONS", {})
    typed = ["defense=mean", "rounds=8", *MOMENTUM]
    (result,) = runner.run_arenas(typed, home, say=lambda text: None).standings
    assert result.worst.verdict == "damages"  # the mean is as weak as it is known to be
    assert result.worst.end < result.rows[0].end - 15


def test_a_weak_rule_and_the_attack_that_knows_its_hole_are_found(hole):
    outcome = runner.run_arenas(
        ["defense=trapdoor", "rounds=8", *MOMENTUM],
        hole,
        plugins=["fl_plugin_hole"],
        say=lambda text: None,
    )
    (result,) = outcome.standings
    assert result.worst.attack == "attack=key"
    assert result.worst.verdict == "damages"
    assert result.worst.end < min(row.end for row in result.rows[2:]) - 10


@pytest.mark.parametrize("typed", [["seed=3"], ["attack=lie"], ["task.validation=0.5"]])
def test_what_the_file_decides_is_refused_on_the_command_line(home, typed):
    with pytest.raises(ConfigError, match=r"arena.yaml sets this"):
        runner.run_arenas(["defense=median", *typed], home, say=lambda text: None)


def test_too_many_byzantine_clients_are_one_line(home):
    with pytest.raises(ConfigError, match="Expected at most f="):
        runner.run_arenas(
            ["defense=bulyan", "byzantine.fraction=0.3", "rounds=1"], home, say=lambda text: None
        )


def test_a_number_of_rounds_that_is_none_is_refused(home):
    with pytest.raises(ConfigError, match="rounds"):
        runner.run_arenas(["defense=median", "rounds=abc"], home, say=lambda text: None)


def test_an_arena_has_one_owner_also_when_it_is_restarted(home):
    spec = load_arena("arena", home)
    first = runner.Arena(spec, ["defense=median", "rounds=2"], home)
    first.keep([(Trial(NONE, 0, "validation", 2), Played((1.0, 2.0)), 0.1)])
    for restart in (False, True):
        with pytest.raises(RunOwned):
            runner.Arena(spec, ["defense=median", "rounds=2"], home, restart=restart)
    assert first.folder.journal.exists()
    first.close()
    again = runner.Arena(spec, ["defense=median", "rounds=2"], home, restart=True)
    assert (again.done, again.folder.path) == ({}, first.folder.path)
    again.close()


def test_a_refused_arena_leaves_no_lock(home, monkeypatch):
    spec = load_arena("arena", home)
    runner.Arena(spec, ["defense=median", "rounds=3"], home).close()
    monkeypatch.setattr(runner, "_conditions", lambda config: {"code_fingerprint": "another"})
    with pytest.raises(IdentityMismatch):
        runner.Arena(spec, ["defense=median", "rounds=3"], home)
    runner.Arena(spec, ["defense=median", "rounds=3"], home, ignore_mismatch=True).close()


def test_an_arena_that_fails_leaves_the_others(home, monkeypatch):
    def failing(setting, trials, should_stop):
        if "defense=bulyan" in setting.base:
            raise ValueError("Expected more.")
        return play(setting, trials, should_stop)

    said, play = [], runner.play
    monkeypatch.setattr(runner, "play", failing)
    typed = ["defense=median,bulyan", "rounds=1"]
    outcome = runner.run_arenas(typed, home, say=said.append)
    assert (len(outcome.standings), outcome.unfinished, outcome.exit_code) == (1, 1, 1)
    assert any("bulyan" in text and "failed" in text for text in said)


def test_an_arena_that_cannot_run_is_refused_before_the_others_begin(home):
    typed = ["defense=median,bulyan", "byzantine.fraction=0.3", "rounds=1"]
    with pytest.raises(ConfigError, match="at most f=11 Byzantine of n=50 clients for bulyan"):
        runner.run_arenas(typed, home, say=pytest.fail)


def test_records_of_other_data_are_refused_by_name(home):
    def write(seed):
        draw = np.random.default_rng(seed)
        images, labels = draw.integers(0, 256, (60, 4, 4), np.uint8), np.arange(60) % 3
        (home / "data").mkdir(exist_ok=True)
        np.savez(home / "data" / "mine.npz", train_images=images, train_labels=labels,
                 test_images=images, test_labels=labels)  # fmt: skip

    typed = ["task=arrays", "task.data.file=mine.npz", "task.samples=null", "task.clients=5"]
    typed += ["task.partition=iid", "defense=median", "rounds=2"]
    spec = load_arena("arena", home)
    write(0)
    runner.Arena(spec, typed, home).close()
    write(1)
    with pytest.raises(IdentityMismatch, match="data_digest"):
        runner.Arena(spec, typed, home)
    (home / "data" / "mine.npz").unlink()  # to print what is recorded needs no data
    runner.Arena(spec, typed, home).close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"listed": [""]}, "listed: expected overrides of an attack"),
        ({"listed": ["seed=3"]}, "listed: expected overrides of an attack"),
        ({"adaptive": ["attack=none"]}, "adaptive: expected overrides of an attack"),
        ({"base": ["task=digits", "seed=3"]}, "base: expected neither seed nor attack"),
        ({"refine": {"attackers": -1}}, "refine.attackers"),
        ({"refine": {"lengths": [1.0, -1]}}, "refine.lengths"),
        ({"refine": {"scatter": ["foo"]}}, "refine.scatter"),
        ({"refine": {"periods": [-1]}}, "refine.periods"),
        ({"refine": {"begins": [2.0]}}, "refine.begins"),
        ({"seeds": [-1]}, "seeds"),
        ({"final": {"seeds": [-5, 101]}}, "final.seeds"),
        ({"seconds": -1}, "seconds"),
    ],
)
def test_a_wrong_file_is_refused_before_the_first_run(home, change, told):
    file = home / "tuning" / "arena.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    with pytest.raises(ConfigError) as refused:
        load_arena("arena", home)
    assert str(refused.value).startswith(f"arena.{told}")


def test_settings_that_an_attack_refuses_in_a_round_are_one_line(home):
    setting = ArenaSetting(home, (*BASE, "defense=median"), ("defense=median",), 0.2)
    flip = Trial(("attack=label_flip", "attack.source=1"), 3, "validation", 1)
    with pytest.raises(ConfigError, match=r"^attack: Expected source and target together"):
        play(setting, [flip])
    costly = ArenaSetting(home, (*BASE, "defense=smea"), ("defense=smea",), 0.2)
    with pytest.raises(ConfigError, match=r"^defense: Expected at most max_subsets"):
        play(costly, [Trial(("attack=ipm",), 3, "validation", 1)])
