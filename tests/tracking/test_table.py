"""What the frame of runs says of their parameters."""

import pytest

from fl_platform.tracking import frames as table
from fl_platform.tracking.active_run import ActiveRun


@pytest.fixture
def record(tmp_path):
    """Record a run with these parameters; everything else is alike."""
    count = 0

    def written(**params):
        nonlocal count
        count += 1
        with ActiveRun.open(
            tmp_path, name=f"run {count}", config_hash=f"{count:016x}", experiment="made up",
            conditions={}, tracking="journal",
        ) as run:  # fmt: skip
            run.start(params=params, tags={"task": "digits"})
            run.log(1, {"test/accuracy": 0.5})
            run.finish("FINISHED")
        return tmp_path

    return written


def test_runs_of_one_setting_differ_in_the_seed_alone(record):
    first = {"seed": 0, "task": {"local": {"lr": 0.1}}, "observers": {"skew": {"every": 0}}}
    record(**first)
    record(**first | {"seed": 1, "observers": {"skew": {"every": 5}}})
    home = record(**first | {"seed": 1, "task": {"local": {"lr": 0.2}}})
    settings = table.runs(home, "folders")["setting"]
    assert settings[0] == settings[1]
    assert settings[2] != settings[0]


def test_a_parameter_without_a_column_tells_runs_apart_only_where_it_differs(record):
    common = {"attack": "none", "rounds": 60, "task": {"state": "parameters", "clients": 10}}
    record(**common, seed=0)
    record(**common, seed=1)
    record(**common | {"task": {"state": "all", "clients": 10}}, seed=0)
    home = record(**common | {"rounds": 80, "task": {"state": "all", "clients": 10}}, seed=0)
    said = table.variants(table.runs(home, "folders")).tolist()
    assert said == ["task.state=parameters"] * 2 + ["task.state=all", ""]


def test_what_a_label_or_a_column_tells_is_no_variant(record):
    record(attack={"nu": 1.0}, observers={"skew": {"every": 0}}, seed=0, task={"beta": 0.5})
    home = record(attack={"nu": 2.0}, observers={"skew": {"every": 5}}, seed=1)
    assert set(table.variants(table.runs(home, "folders"))) == {""}
