"""Hydra's sweep grammar, written out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, expand

ROOT = Path(__file__).parents[2]


def test_the_last_override_varies_fastest():
    assert expand(["attack=none,lie", "rounds=5", "seed=range(0,2)"], ROOT) == [
        ["attack=none", "rounds=5", "seed=0"],
        ["attack=none", "rounds=5", "seed=1"],
        ["attack=lie", "rounds=5", "seed=0"],
        ["attack=lie", "rounds=5", "seed=1"],
    ]


def test_one_value_each_is_one_run():
    assert expand(["seed=3"], ROOT) == [["seed=3"]]
    assert expand([], ROOT) == [[]]


def test_a_range_of_real_numbers_and_a_choice():
    ways = expand(["attack.nu=range(0.25,1.01,0.25)"], ROOT)
    assert [way[0] for way in ways] == [f"attack.nu={nu}" for nu in (0.25, 0.5, 0.75, 1.0)]
    assert len(expand(["defense=choice(mean,median)"], ROOT)) == 2


def test_a_glob_knows_the_groups_choices():
    every = {file.stem for file in (ROOT / "conf/defense").glob("*.yaml")}
    found = {way[0].partition("=")[2] for way in expand(["defense=glob(*,exclude=mean)"], ROOT)}
    assert found == every - {"mean"}


def test_what_comes_out_composes():
    for way in expand(["attack=strike", "attack.nu=0.5,1", "seed=0,1"], ROOT):
        compose(way, ROOT)


@pytest.mark.parametrize("text", ["defense=glob(zzz*)", "seed=range(3,0)", "seed=[", "hydra.x=1,2"])
def test_a_sweep_over_nothing_or_in_no_grammar_is_refused(text):
    with pytest.raises(ConfigError):
        expand([text], ROOT)
