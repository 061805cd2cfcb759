"""From what a person types to one checked configuration, or one line that names the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fl_platform.config import Config, ConfigError, compose, config_hash

HOME = Path(__file__).parents[2]


def refused(*overrides: str, **kwargs) -> str:
    with pytest.raises(ConfigError) as refusal:
        compose(overrides, HOME, **kwargs)
    text = str(refusal.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


def test_nothing_typed_is_the_digits_without_attack_against_the_mean():
    config = compose([], HOME)
    assert isinstance(config, Config)
    assert config.task.name == "digits"
    assert config.attack["_target_"] == "fl_platform.attacks.none"
    assert config.defense["_target_"] == "fl_platform.defenses.mean"
    assert config.mixing == []
    assert config.rounds == config.task.rounds
    assert (config.preset, config.experiment) == ("none", "")


def test_what_is_typed_arrives_with_the_type_of_the_signature():
    config = compose(["attack=strike", "attack.nu=2", "rounds=7", "seed=3"], HOME)
    assert (config.attack["nu"], type(config.attack["nu"])) == (2.0, float)
    assert (config.rounds, config.seed) == (7, 3)
    assert config.task.rounds != 7


def test_role_settings_are_accepted_on_every_rule_of_the_group():
    assert compose(["attack=strike", "attack.knowledge=4"], HOME).attack["knowledge"] == 4
    assert compose(["defense=median", "defense.assumed_f=3"], HOME).defense["assumed_f"] == 3
    assert compose(["defense.on_excess_f=error"], HOME).defense["on_excess_f"] == "error"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["roundz=5"], "did you mean 'rounds'"),
        (["attack=strike", "attack.nuu=1"], "attack.nuu: strike has no such parameter; did you"),
        (["attack=strike", "+attack.nuu=1"], "did you mean 'nu'"),
        (["defense=krumm"], "defense: there is no 'krumm'; did you mean 'krum'?"),
        (["task=digit"], "did you mean 'digits'"),
        (["experiment=foo"], "experiment: there is no 'foo'"),
        (["+task.betta=1"], "task.betta: there is no such setting; did you mean 'beta'"),
        (["byzantine.fractoin=0.1"], "did you mean 'fraction'"),
        (["rounds=abc"], "rounds: expected a whole number, got 'abc'"),
        (["rounds=1e3"], "rounds: expected a whole number, got 1000.0"),
        (["rounds=null"], "rounds: expected a whole number, got null"),
        (["rounds=010"], "rounds: expected a whole number, got '010'"),
        (["rounds=0"], "rounds: expected a number >= 1"),
        (["seed=true"], "seed: expected a whole number, got true"),
        (["seed=-1"], "seed: expected"),
        (["byzantine.fraction=nan"], "byzantine.fraction: expected a finite number"),
        (["byzantine.fraction=0.5"], "byzantine.fraction: expected a share"),
        (["byzantine.fraction=0.49", "task.clients=10"], "fewer than half of task.clients=10"),
        (["task.local.lr=[]"], "task.local.lr: expected a number, got []"),
        (["task.local.lr=inf"], "task.local.lr: expected a finite number"),
        (["task.sampled=51"], "task.sampled: expected at most task.clients=50"),
        (["task.beta=null"], "task.beta: expected a number > 0"),
        (["server.optimizer=fedavg"], "did you mean 'fedavgm'"),
        (["runtime.threads=1000000"], "runtime.threads: expected at most 1024"),
        (["runtime.device=gpu"], "runtime.device: expected auto, cpu"),
        (["attack=strike", "attack.nu=-1"], "attack.nu: expected a finite number >= 0"),
        (["attack=strike", "attack.nu=abc"], "attack.nu: expected a number, got 'abc'"),
        (["attack=strike", "attack.median=mid"], "attack.median: expected one of midpoint"),
        (["attack.knowledge=0"], "attack.knowledge: expected all, own or k >= 1"),
        (["defense.assumed_f=-1"], "defense.assumed_f: expected null or f >= 0"),
        (["~attack"], "attack is missing"),
        (["attack={nu: 1}"], "attack: expected the name of a choice"),
        (["seed"], "expected key=value"),
        (["=1"], "expected key=value"),
        (["seed=[1"], "expected key=value"),
        (["rounds=${task.round}"], "rounds: Interpolation key 'task.round' not found"),
        (["rounds=${rounds}"], "rounds: Recursive interpolation"),
        (["hydra.verbose=true"], "Hydra's own settings"),
        (["task.name=''"], "task.name: expected a name"),
    ],
)
def test_a_refusal_names_the_key_and_what_would_do(overrides, says):
    assert says in refused(*overrides)


def test_a_sweep_is_sent_to_grid():
    assert "fl-platform grid seed=0,1" in refused("seed=0,1")
    assert "fl-platform grid" in refused("seed=range(0,3)")


def test_terminal_codes_in_a_value_are_shown_not_obeyed():
    assert "\x1b" not in refused("task.name=x", "runtime.device='\x1b[31m'")


def test_a_refused_compose_leaves_omegaconf_as_it_was(monkeypatch):
    monkeypatch.setenv("FL_CANARY", "seen")
    refused("defense=krumm")
    # Others in this process may rely on the resolver that is off while we compose.
    assert OmegaConf.create({"a": "${oc.env:FL_CANARY}"}).a == "seen"
    assert os.environ["FL_CANARY"] == "seen"


def test_the_working_directory_plays_no_part(monkeypatch, tmp_path):
    before = config_hash(compose([], HOME))
    monkeypatch.chdir(tmp_path)
    assert config_hash(compose([], HOME)) == before


def test_a_choice_that_reads_as_a_number_is_a_name(home):
    assert compose(["attack=inf"], home).attack["_target_"] == "fl_platform.attacks.inf"
    assert compose(["attack=inf", "defense=median"], home).defense["kind"] == "midpoint"
