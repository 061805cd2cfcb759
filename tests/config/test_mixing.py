"""A mixing is no node, one node, or several by name in order."""

from __future__ import annotations

import pytest

from fl_platform.config import ConfigError, build_rule, compose, flat

MIXINGS = """
from typing import Annotated
from torch import Tensor
from fl_platform.core.constraints import AtLeast
__all__ = ["near", "Lots", "lots"]
def near(updates: object, num_byzantine: int) -> Tensor: ...
class Lots:
    def __init__(self, seed: int = 0, *, s: Annotated[int, AtLeast(1)] = 2) -> None:
        self.seed, self.s = seed, s
    def __call__(self, updates: object, num_byzantine: int) -> Tensor: ...
lots = Lots
"""


@pytest.fixture
def mixings(home):
    (home / "fl_plugin_mixings.py").write_text(MIXINGS)
    folder = home / "conf/mixing"
    (folder / "near.yaml").write_text("_target_: fl_plugin_mixings.near\n")
    (folder / "lots.yaml").write_text("_target_: fl_plugin_mixings.lots\ns: 2\n")
    (folder / "both.yaml").write_text("defaults:\n  - near@near\n  - lots@lots\n")
    return lambda *overrides: compose(overrides, home, plugins=["fl_plugin_mixings"])


def test_none_is_an_empty_list(mixings):
    assert mixings("mixing=none").mixing == []


def test_one_is_set_by_its_parameters(mixings):
    (node,) = mixings("mixing=lots", "mixing.s=5").mixing
    assert node == {"_target_": "fl_plugin_mixings.lots", "s": 5}


def test_several_keep_their_order_and_are_set_by_name(mixings):
    config = mixings("mixing=both", "mixing.lots.s=3")
    assert [node["_target_"].rpartition(".")[2] for node in config.mixing] == ["near", "lots"]
    assert config.mixing[1]["s"] == 3
    params = flat(config)
    assert (params["mixing"], params["mixing.lots.s"]) == ("near+lots", 3)


@pytest.mark.parametrize("override", ["mixing.lots.s=0", "mixing.lots.ss=1", "mixing.lots.s=a"])
def test_each_is_checked_under_its_name(mixings, override):
    with pytest.raises(ConfigError, match=r"^mixing\.lots\.s"):
        mixings("mixing=both", override)


def test_a_class_is_built_with_the_seed(mixings):
    (node,) = mixings("mixing=lots", "mixing.s=5").mixing
    made = build_rule(node, seed=9)
    assert (made.seed, made.s) == (9, 5)


def test_the_same_mixing_twice_keeps_the_parameters_of_both(mixings, home):
    twice = "defaults:\n  - lots@first\n  - lots@second\nsecond: {s: 3}\n"
    (home / "conf/mixing/twice.yaml").write_text(twice)
    params = flat(mixings("mixing=twice"))
    assert params["mixing"] == "lots+lots"
    assert (params["mixing.lots.s"], params["mixing.lots_2.s"]) == (2, 3)
