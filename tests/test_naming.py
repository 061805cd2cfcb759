"""How rules are called: what tells two of them apart is in the name."""

import pytest

from fl_platform.config import config_hash
from fl_platform.grid.plan import plan
from fl_platform.run.naming import rule_label, run_name

STRIKE = {"_target_": "fl_platform.attacks.strike", "nu": 1.0, "knowledge": "all"}
SCHEDULE = {"start": 20, "stop": 40, "ramp": 0, "switch": None}
MEDIAN = {"_target_": "fl_platform.defenses.median", "on_excess_f": "clamp", "assumed_f": None}


@pytest.mark.parametrize(
    ("node", "label"),
    [
        (STRIKE, "strike(nu=1)"),
        (STRIKE | {"knowledge": "own"}, "strike(nu=1, knowledge=own)"),
        (STRIKE | {"knowledge": 5, "nu": 0.5}, "strike(nu=0.5, knowledge=5)"),
        ({"_target_": "fl_platform.attacks.none", "knowledge": "own"}, "none"),
        ({"_target_": "fl_platform.attacks.label_flip", "knowledge": "own"}, "label_flip"),
        (STRIKE | {"schedule": SCHEDULE}, "strike(nu=1, schedule=start 20 stop 40)"),
        (MEDIAN, "median"),
        (MEDIAN | {"assumed_f": 0}, "median(assumed_f=0)"),
        (MEDIAN | {"on_excess_f": "keep_model"}, "median(on_excess_f=keep_model)"),
    ],
)
def test_what_an_attacker_knows_and_a_defense_is_told_is_part_of_the_name(node, label):
    assert rule_label(node) == label


def test_runs_of_a_grid_say_the_axes_in_which_they_differ(tmp_path):
    overrides = [
        ["attack=strike", "task=digits", f"task.beta={beta}", f"server.lr={lr}", f"seed={seed}"]
        for beta in (0.1, 0.5)
        for lr in (1.0, 0.5)
        for seed in (0, 1)
    ]
    cells = plan(overrides, tmp_path)
    assert len({cell.name for cell in cells}) == len(cells)
    assert cells[0].name == "strike(nu=1) vs mean, beta=0.1 lr=1, digits s0"
    assert run_name(cells[0].config) == cells[0].name
    assert [cell.config_hash for cell in cells] == [config_hash(cell.config) for cell in cells]
    (alone,) = plan(overrides[:1], tmp_path)
    assert alone.name == "strike(nu=1) vs mean, digits s0"
    assert alone.config_hash == cells[0].config_hash
