"""When an attack plays, as settings: one form, old names kept, wrong values refused in one line."""

from pathlib import Path

import pytest

from fl_platform.config import ConfigError, canonical, compose, config_hash

ROOT = Path(__file__).parents[2]


def composed(*overrides):
    return compose(["attack=ipm", *overrides], ROOT)


def test_what_says_nothing_keeps_the_name():
    plain = composed()
    assert "schedule" not in canonical(plain)["attack"]
    for same in ("attack.schedule.start=0", "attack.schedule=null", "attack.schedule={ramp: 0}"):
        assert config_hash(composed(same)) == config_hash(plain)


def test_one_meaning_has_one_form():
    short, long = "attack.schedule.start=5", "attack.schedule={start: 5, stop: null, ramp: 0}"
    assert composed(short).attack["schedule"] == {
        "start": 5,
        "stop": None,
        "ramp": 0,
        "switch": None,
    }
    assert config_hash(composed(short)) == config_hash(composed(long)) != config_hash(composed())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["attack.schedule.start=-1"], "attack.schedule.start: expected a number of rounds >= 0"),
        (["attack.schedule.start=60"], "attack.schedule.start: expected a round below rounds=60"),
        (["attack.schedule={start: 9, stop: 9}"], "attack.schedule.stop: expected a round after"),
        (["attack.schedule.ramp=-2"], "attack.schedule.ramp: expected a number of rounds >= 0"),
        (["attack.schedule.ramp=0.5"], "attack.schedule.ramp: expected a whole number"),
        (["attack.schedule.switch=0"], "attack.schedule.switch: expected a number of rounds >= 1"),
        (["attack.schedule.strat=3"], "no such setting; did you mean 'start'"),
        (["attack.schedule=7"], "attack.schedule: expected settings by name"),
        (["attack=none", "attack.schedule.start=3"], "attack.schedule: expected null for"),
        (
            ["attack.schedule.stop=9", "byzantine.data=none"],
            "byzantine.data: expected share or iid",
        ),
        (["attack.schedule.switch=9", "byzantine.data=iid"], "byzantine.data: expected share for"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(wrong, told):
    with pytest.raises(ConfigError) as refused:
        composed(*wrong)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
