"""A preset speaks for whichever rule is chosen, below experiment files and what is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.config.compose import apply_preset

ROOT = Path(__file__).parents[2]
PRESET = """
rules:
  strike: {nu: 3.0}
  ipm: {}
  median: {on_excess_f: error}
tasks:
  digits: {state: all}
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /attack: strike
attack: {nu: 5.0}
task: {state: parameters}
"""


@pytest.fixture
def preset(home):
    (home / "conf/preset/ours.yaml").write_text(PRESET)
    (home / "conf/experiment/small.yaml").write_text(EXPERIMENT)
    return home


@pytest.mark.parametrize(
    ("overrides", "nu"),
    [
        (["attack=strike"], 1.0),
        (["attack=strike", "preset=ours"], 3.0),
        (["attack=strike", "preset=ours", "attack.nu=1"], 1.0),
        (["attack=strike", "preset=ours", "++attack.nu=2"], 2.0),
        (["experiment=small"], 5.0),
        (["experiment=small", "preset=ours"], 5.0),
        (["experiment=small", "preset=ours", "attack.nu=7"], 7.0),
    ],
)
def test_what_is_nearer_to_the_person_wins(preset, overrides, nu):
    config = compose(overrides, preset)
    assert config.attack["nu"] == nu
    assert config.preset == ("ours" if "preset=ours" in overrides else "none")
    assert config.experiment == ("small" if "experiment=small" in overrides else "")


def test_a_preset_speaks_of_role_settings_too_and_of_nothing_not_chosen(preset):
    assert compose(["defense=median", "preset=ours"], preset).defense["on_excess_f"] == "error"
    assert compose(["defense=mean", "preset=ours"], preset).defense["on_excess_f"] == "clamp"


def test_the_name_of_an_experiment_is_no_part_of_the_runs_identity(preset):
    typed = compose(["attack=strike", "attack.nu=5"], preset)
    assert config_hash(compose(["experiment=small"], preset)) == config_hash(typed)


@pytest.mark.parametrize(
    ("overrides", "state"),
    [
        ([], "parameters"),
        (["preset=ours"], "all"),
        (["preset=ours", "task=cifar10"], "parameters"),
        (["preset=ours", "task.state=parameters"], "parameters"),
        (["preset=ours", "experiment=small"], "parameters"),
    ],
)
def test_a_preset_says_what_rules_see_of_a_tasks_model(preset, overrides, state):
    assert compose(overrides, preset).task.state == state


def test_the_official_preset_shows_all_state_where_a_network_has_any_beside_parameters():
    official = {
        task: compose([f"task={task}", "preset=official", "attack=strike"], ROOT).task.state
        for task in ("digits", "cifar10", "femnist", "imagenet12")
    }
    assert official.pop("imagenet12") == "all"
    assert set(official.values()) == {"parameters"}  # without buffers both are the same rows
    assert compose(["task=imagenet12"], ROOT).task.state == "parameters"


@pytest.mark.parametrize("key", ["rounds", "beta", "statee"])
def test_the_rest_of_a_task_is_not_a_presets_to_say(preset, key):
    (preset / "conf/preset/ours.yaml").write_text(f"tasks: {{digits: {{{key}: 1}}}}\n")
    with pytest.raises(ConfigError, match=rf"preset\.tasks\.digits: expected state .*{key}"):
        compose(["preset=ours"], preset)
    assert compose(["preset=ours", "task=cifar10"], preset).rounds == 200


def test_a_mixing_is_reached_by_its_key():
    nodes = {"mixing.nnm": {"_target_": "p.nnm", "kind": "a"}, "attack": {"_target_": "p.none"}}
    apply_preset({"rules": {"nnm": {"kind": "b"}}}, nodes, {}, set())
    assert nodes["mixing.nnm"]["kind"] == "b"
    apply_preset({"rules": {"nnm": {"kind": "c"}}}, nodes, {}, {"mixing.nnm.kind"})
    assert nodes["mixing.nnm"]["kind"] == "b"


def test_an_unknown_parameter_in_a_preset_is_refused(preset):
    (preset / "conf/preset/ours.yaml").write_text("rules: {strike: {nuu: 1}}\n")
    with pytest.raises(ConfigError, match=r"attack\.nuu: strike has no such parameter"):
        compose(["attack=strike", "preset=ours"], preset)


@pytest.mark.parametrize(
    "text", ["rules: [1]\n", "rule: {}\n", "rules: {strike: 3}\n", "tasks: 3\n"]
)
def test_another_form_is_refused(preset, text):
    (preset / "conf/preset/ours.yaml").write_text(text)
    with pytest.raises(ConfigError, match="preset"):
        compose(["attack=strike", "preset=ours"], preset)
