"""A preset speaks for whichever rule is chosen, below experiment files and what is typed."""

from __future__ import annotations

import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.config.preset import apply_preset

PRESET = "rules:\n  strike: {nu: 3.0}\n  ipm: {}\n  median: {on_excess_f: error}\n"
EXPERIMENT = "# @package _global_\ndefaults:\n  - override /attack: strike\nattack: {nu: 5.0}\n"


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


def test_a_mixing_is_reached_by_its_key():
    nodes = {"mixing.nnm": {"_target_": "p.nnm", "kind": "a"}, "attack": {"_target_": "p.none"}}
    apply_preset({"rules": {"nnm": {"kind": "b"}}}, nodes, set())
    assert nodes["mixing.nnm"]["kind"] == "b"
    apply_preset({"rules": {"nnm": {"kind": "c"}}}, nodes, {"mixing.nnm.kind"})
    assert nodes["mixing.nnm"]["kind"] == "b"


def test_an_unknown_parameter_in_a_preset_is_refused(preset):
    (preset / "conf/preset/ours.yaml").write_text("rules: {strike: {nuu: 1}}\n")
    with pytest.raises(ConfigError, match=r"attack\.nuu: strike has no such parameter"):
        compose(["attack=strike", "preset=ours"], preset)


@pytest.mark.parametrize("text", ["rules: [1]\n", "rule: {}\n", "rules: {strike: 3}\n"])
def test_another_form_is_refused(preset, text):
    (preset / "conf/preset/ours.yaml").write_text(text)
    with pytest.raises(ConfigError, match="preset"):
        compose(["attack=strike", "preset=ours"], preset)
