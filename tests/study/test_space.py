"""What a study may vary, and what it refuses to."""

import optuna
import pytest

from fl_platform.config import ConfigError, compose
from fl_platform.study.spec import as_overrides, parse_space, suggest

SPACE = {
    "attack.nu": {"low": 0.1, "high": 4.0},
    "defense.averaged": {"low": 1, "high": 50},
    "mixing": {"choices": ["none", "nnm"]},
}


def test_suggestions_stay_inside_and_survive_the_command_line(home):
    space = parse_space(SPACE, "space")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    mixings = set()
    for _ in range(20):
        values = suggest(study.ask(), space)
        assert 0.1 <= values["attack.nu"] <= 4.0
        assert isinstance(values["defense.averaged"], int)
        mixings.add(values["mixing"])
        base = ["task=digits", "attack=strike", "defense=multi_krum"]
        config = compose([*base, *as_overrides(values)], home)
        assert config.attack["nu"] == values["attack.nu"]
        assert config.defense["averaged"] == values["defense.averaged"]
        assert len(config.mixing) == (values["mixing"] == "nnm")
    assert mixings == {"none", "nnm"}


@pytest.mark.parametrize("value", [1e-8, 0.1 + 0.2, 12345.678901234567, True, "n-f"])
def test_a_value_is_typed_with_every_digit(value):
    from fl_platform.config.hydra_tree import parse_overrides

    (override,) = parse_overrides(as_overrides({"defense.eps": value}))
    assert override.value() == value


def test_a_logarithmic_range_reaches_its_small_end():
    log = parse_space({"x": {"low": 1e-6, "high": 1.0, "log": True}}, "space")
    flat = parse_space({"x": {"low": 1e-6, "high": 1.0}}, "space")
    small = {}
    for name, space in {"log": log, "flat": flat}.items():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        small[name] = sum(suggest(study.ask(), space)["x"] < 1e-3 for _ in range(50))
    assert small["log"] > 15
    assert small["flat"] < 5


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ({}, "space: expected a mapping of keys"),
        ([1], "space: expected a mapping of keys"),
        ({"x": {"low": 2, "high": 1}}, "space.x.low: expected a number below high"),
        ({"x": {"low": 0, "high": 1, "log": True}}, "expected a number > 0 for log"),
        ({"x": {"lo": 0, "high": 1}}, "did you mean 'low'"),
        ({"x": {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}, "expected null with log"),
        ({"x": {"choices": []}}, "space.x.choices"),
        ({"x": 3}, "space.x"),
    ],
)
def test_a_space_that_holds_nothing_is_refused_by_name(node, told):
    with pytest.raises(ConfigError, match=told.replace(".", r"\.").replace("(", r"\(")):
        parse_space(node, "space")
