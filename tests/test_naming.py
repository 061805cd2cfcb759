"""How rules are called: what tells two of them apart is in the name."""

import pytest

from fl_platform.run.naming import rule_label

STRIKE = {"_target_": "fl_platform.attacks.strike", "nu": 1.0, "knowledge": "all"}
MEDIAN = {"_target_": "fl_platform.defenses.median", "on_excess_f": "clamp", "assumed_f": None}


@pytest.mark.parametrize(
    ("node", "label"),
    [
        (STRIKE, "strike(nu=1)"),
        (STRIKE | {"knowledge": "own"}, "strike(nu=1, knowledge=own)"),
        (STRIKE | {"knowledge": 5, "nu": 0.5}, "strike(nu=0.5, knowledge=5)"),
        ({"_target_": "fl_platform.attacks.none", "knowledge": "own"}, "none"),
        ({"_target_": "fl_platform.attacks.label_flip", "knowledge": "own"}, "label_flip"),
        (MEDIAN, "median"),
        (MEDIAN | {"assumed_f": 0}, "median(assumed_f=0)"),
        (MEDIAN | {"on_excess_f": "keep_model"}, "median(on_excess_f=keep_model)"),
    ],
)
def test_what_an_attacker_knows_and_a_defense_is_told_is_part_of_the_name(node, label):
    assert rule_label(node) == label
