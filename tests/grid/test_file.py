"""What a grid file may say, and how a person's words replace its axes."""

import pytest

from fl_platform.config import ConfigError
from fl_platform.grid.spec import Grid, read_grid

SMALL = """# @package _global_
grid:
  axes: {attack: "none, lie", seed: 0}
  cells:
    - {defense: mean}
    - {defense: median, attack: strike}
"""


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text("defaults:\n- attack: none\n- defense: mean\n")

    def write(text, name="small"):
        (folder / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def test_a_block_replaces_an_axis_and_what_is_typed_replaces_both(write):
    grid = read_grid("small", write(SMALL))
    assert grid.sweeps([]) == [
        ["attack=none, lie", "seed=0", "defense=mean"],
        ["attack=strike", "seed=0", "defense=median"],
    ]
    typed = grid.sweeps(["seed=range(0,5)", "attack=ipm", "rounds=3"])
    assert typed[0] == ["attack=ipm", "seed=range(0,5)", "defense=mean", "rounds=3"]
    assert typed[1] == ["attack=ipm", "seed=range(0,5)", "defense=median", "rounds=3"]


APART = """# @package _global_
grid:
  axes: {seed: 0}
  cells:
    - {attack: "none, strike"}
    - {attack: "lie, min_max", attack.side: "above, below"}
"""


def test_typed_rules_are_shared_out_to_the_blocks_that_name_them(write):
    grid = read_grid("small", write(APART))
    assert grid.sweeps(["attack=lie,none,ipm"]) == [
        ["seed=0", "attack=none,ipm"],
        ["seed=0", "attack=lie", "attack.side=above, below"],
    ]
    assert grid.sweeps(["attack=min_max", "attack.side=below", "rounds=3"]) == [
        ["seed=0", "attack=min_max", "attack.side=below", "rounds=3"],
    ]
    # A setting that no block is left for is not forgotten: composing refuses it by name.
    assert grid.sweeps(["attack=none", "attack.side=below"]) == [
        ["seed=0", "attack=none", "attack.side=below"],
    ]


def test_a_rule_that_no_block_names_runs_without_the_settings_of_others(write):
    grid = read_grid("small", write(APART.replace('    - {attack: "none, strike"}\n', "")))
    assert grid.sweeps(["attack=ipm"]) == [["seed=0", "attack=ipm"]]


def test_a_grid_without_a_file_is_what_is_typed():
    assert Grid("grid").sweeps(["seed=0,1"]) == [["seed=0,1"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rounds: 3\n", "expected 'grid:'"),
        ("grid: [1]\n", "expected 'grid:'"),
        ("grid: {axis: {seed: 0}}\n", "did you mean 'axes'"),
        ("grid: {axes: {seed: [0, 1]}}\n", "Hydra's sweep grammar"),
        ("grid: {axes: {seed: true}}\n", "Hydra's sweep grammar"),
        ("grid: {cells: {seed: 0}}\n", "expected a list"),
        ("grid: {cells: [seed]}\n", "expected values by key"),
        ("grid: {axes: [\n", "small.yaml"),
    ],
)
def test_another_form_is_refused_by_name(write, text, told):
    home = write(text)
    with pytest.raises(ConfigError, match=told):
        read_grid("small", home)


def test_a_misspelt_name_is_met_with_the_nearest(write):
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        read_grid("smal", write(SMALL))


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ("{1: x}", "got 1"),
        ("{true: x}", "got True"),
        ("{axes: {seed: 0}, cells: []}", "at least one block"),
    ],
)
def test_odd_keys_and_no_blocks_are_refused_in_one_line(write, node, told):
    with pytest.raises(ConfigError, match=told):
        read_grid("small", write(f"# @package _global_\ngrid: {node}\n"))
