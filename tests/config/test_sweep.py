"""Hydra's sweep grammar, written out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, expand
from fl_platform.config.sweep import MOST

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


@pytest.mark.parametrize(
    "values",
    [
        "range(0,10000000)",
        "shuffle(range(0,10000000000))",
        "range(0.0,1e9,0.001)",
        "range(0,20001)",
    ],
)
def test_more_runs_than_a_command_can_plan_are_refused_in_one_line_and_little_memory(values):
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from fl_platform.config import ConfigError, expand\n"
        "try: expand(['attack=none,lie', sys.argv[1]], Path(sys.argv[2]))\n"
        "except ConfigError as error: print(error)\n"
        # not ru_maxrss, which begins with that of the process that started this one
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    line = [sys.executable, "-c", script, f"seed={values}", str(ROOT)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    told, kilobytes = done.stdout.splitlines()
    assert told.startswith(f"seed={values}: expected at most {MOST} combinations")
    assert int(kilobytes) < 500_000


def test_combinations_count_and_not_values_alone():
    with pytest.raises(ConfigError, match="expected at most"):
        expand(["seed=range(0,150)", "rounds=range(1,150)"], ROOT)
    assert len(expand(["seed=range(0,100)", "rounds=range(1,101)"], ROOT)) == 10_000
