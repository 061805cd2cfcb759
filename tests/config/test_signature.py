"""A signature is a schema: what it says is what is checked."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
import yaml

from fl_platform.config import ConfigError
from fl_platform.config.rules import fit_parameters, parameters
from fl_platform.config.schema import role_names
from fl_platform.config.targets import PACKAGES, load_rule
from fl_platform.core.constraints import AtLeast, Between
from tests.config.test_mutants import ROOT


def rule(
    update,
    *,
    size: int,
    nu: Annotated[float, AtLeast(0)] = 1.0,
    share: Annotated[float, Between(0, 1)] | None = None,
    start: Literal["lower", "midpoint"] = "lower",
    hidden: tuple[int, ...] = (64,),
    pair: tuple[float, float] = (0.9, 0.99),
    root: str | None = None,
    flag: bool = False,
):
    return update


NODE = {"_target_": "x.rule", "size": 3}


def test_keyword_only_parameters_are_the_schema():
    assert list(parameters(rule)) == [
        "size",
        "nu",
        "share",
        "start",
        "hidden",
        "pair",
        "root",
        "flag",
    ]
    assert parameters(rule)["size"].required
    assert not parameters(rule)["nu"].required


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"nu": 2}, 2.0),
        ({"nu": 0}, 0.0),
        ({"share": None}, None),
        ({"share": 1}, 1.0),
        ({"start": "midpoint"}, "midpoint"),
        ({"hidden": [3, 4]}, (3, 4)),
        ({"pair": [0, 1]}, (0.0, 1.0)),
        ({"root": "a"}, "a"),
        ({"flag": True}, True),
    ],
)
def test_what_fits_is_taken(given, becomes):
    (key,) = given
    value = fit_parameters(parameters(rule), NODE | given, "attack")[key]
    assert value == becomes
    assert type(value) is type(becomes)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nu": -1}, "attack.nu: expected a finite number >= 0, got -1"),
        ({"nu": float("nan")}, "attack.nu: expected a finite number"),
        ({"nu": True}, "attack.nu: expected a number, got true"),
        ({"nu": "1"}, "attack.nu: expected a number, got '1'"),
        ({"nu": None}, "attack.nu: expected a number, got null"),
        ({"size": 3.0}, "attack.size: expected a whole number, got 3.0"),
        ({"size": False}, "attack.size: expected a whole number, got false"),
        ({"share": 1.5}, "attack.share: expected a number from 0 to 1"),
        ({"start": "lowr"}, "did you mean 'lower'"),
        ({"start": False}, "expected one of lower, midpoint, got false"),
        ({"hidden": []}, "attack.hidden: expected a list, each a whole number, got an empty list"),
        ({"hidden": [1, "a"]}, "attack.hidden.1: expected a whole number, got 'a'"),
        ({"hidden": 3}, "attack.hidden: expected a list"),
        ({"pair": [1]}, "attack.pair: expected 2 items"),
        ({"flag": "no"}, "attack.flag: expected true or false"),
        (
            {"nuu": 1},
            "attack.nuu: rule has no such parameter; did you mean 'nu'? Expected one of: size",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, says):
    with pytest.raises(ConfigError) as refusal:
        fit_parameters(parameters(rule), NODE | given, "attack")
    assert says in str(refusal.value)


def test_a_parameter_without_default_has_to_be_said():
    with pytest.raises(ConfigError, match=r"attack\.size is missing: rule expects a whole number"):
        fit_parameters(parameters(rule), {"_target_": "x.rule"}, "attack")


FOUND = [
    (group, file) for group in PACKAGES for file in sorted((ROOT / "conf" / group).glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "file"), FOUND, ids=lambda it: getattr(it, "stem", it))
def test_a_yaml_lists_every_parameter_with_the_codes_default(group, file):
    node = yaml.safe_load(file.read_text()) or {}
    if "_target_" not in node:
        return  # no rule, or several joined by a defaults list
    known = parameters(load_rule(node, group, group))
    listed = [key for key in node if key != "_target_" and key not in role_names(group)]
    assert listed == list(known)
    filled = fit_parameters(
        parameters(load_rule(node, group, group)), node, group, role_names(group)
    )
    for key, parameter in known.items():
        if not parameter.required:
            assert filled[key] == parameter.default
    assert file.read_text().startswith("# fl-platform run ")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf/preset").glob("*.yaml")), ids=lambda f: f.stem
)
def test_a_preset_names_only_rules_and_parameters_that_exist(file):
    rules = {}
    for group, found in FOUND:
        node = yaml.safe_load(found.read_text()) or {}
        if "_target_" in node:
            known = [*parameters(load_rule(node, group, group)), *role_names(group)]
            rules[node["_target_"].rpartition(".")[2]] = known
    for name, values in yaml.safe_load(file.read_text())["rules"].items():
        assert name in rules
        assert set(values) <= set(rules[name])
