"""Every experiment file in conf/: each of its cells composes, and it says what it should."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, config_hash, setting_hash
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.spec import grid_files, read_grid
from fl_platform.run.early import refuse_settings

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = grid_files([REPOSITORY / "conf"])
PAPER = {"bit_flip", "lie", "ipm", "min_max", "min_sum", "mimic", "strike"}
SEVEN = {"multi_krum", "median", "rfa", "aksel", "centered_clipping", "dnc", "trimmed_mean"}


def rules(cells, part):
    return {getattr(cell.config, part)["_target_"].rpartition(".")[2] for cell in cells}


@pytest.mark.parametrize("name", FILES)
def test_every_cell_composes_and_the_file_begins_with_its_command(name):
    lines = FILES[name].read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# fl-platform grid {name}")
    grid, cells = plan_grid([name], REPOSITORY)
    assert grid.title != name
    assert len({cell.config_hash for cell in cells}) == len(cells) > 0
    assert {cell.config.experiment for cell in cells} == {name}
    for config in {setting_hash(cell.config): cell.config for cell in cells}.values():
        refuse_settings(config)  # one refused cell would refuse the grid
    attacks = [cell.config.attack for cell in cells]
    for attack in ("lie", "min_max", "min_sum"):  # on both sides, equally often, or not at all
        found = Counter(a["side"] for a in attacks if a["_target_"].endswith(f".{attack}"))
        one_side = name.startswith("papers/") and len(found) == 1  # the side of the source
        assert one_side or set(found) in (set(), {"above", "below"})
        assert len(set(found.values())) <= 1


@pytest.mark.parametrize("name", ["table1", "fig8", "ablation"])
def test_a_planned_cell_is_what_its_overrides_compose_to(name):
    _, cells = plan_grid([name], REPOSITORY)
    for cell in cells[:: len(cells) // 5]:
        runtime = replace(cell.config.runtime, name="")  # the grid names runs by what differs
        assert replace(cell.config, runtime=runtime) == compose(list(cell.overrides), REPOSITORY)


def test_table1_is_the_papers_with_its_references():
    _, cells = plan_grid(["table1", "task=digits", "seed=0,1"], REPOSITORY)
    assert rules(cells, "attack") == PAPER | {"none", "absent"}
    assert rules(cells, "defense") == SEVEN | {"mean"}
    assert len(cells) == (6 + 3 * 2) * 8 * 2
    seeds = Counter(cell.config.seed for cell in cells)
    assert seeds == {0: 96, 1: 96}


def test_the_figures_vary_what_they_are_about():
    _, cells = plan_grid(["fig7", "seed=0"], REPOSITORY)
    strengths = {cell.config.attack["nu"] for cell in cells if "nu" in cell.config.attack}
    assert strengths == {0.25 * i for i in range(1, 9)}
    assert rules(cells, "defense") == SEVEN
    _, cells = plan_grid(["fig8", "seed=0"], REPOSITORY)
    levels = {(cell.config.task.partition, cell.config.task.beta) for cell in cells}
    dirichlet = {("dirichlet", beta) for beta in (0.1, 0.2, 0.5, 0.7, 0.9)}
    assert levels == dirichlet | {("iid", None)}
    _, cells = plan_grid(["fig2"], REPOSITORY)
    assert cells[0].config.task.clients == 100
    assert cells[0].config.observers.cloud.every == 20
    _, cells = plan_grid(["table2"], REPOSITORY)
    assert {cell.config.mixing[0]["_target_"] for cell in cells} == {"fl_platform.defenses.nnm"}


def test_quick_is_no_attack_and_six_against_five_defenses():
    _, cells = plan_grid(["quick"], REPOSITORY)
    assert len(cells) == (5 + 2 * 2) * 5
    assert "none" in rules(cells, "attack")


def test_typed_attacks_keep_their_sides_and_others_need_none():
    typed = ["attack=none,lie,fang", "defense=mean", "seed=0"]
    _, cells = plan_grid(["quick", *typed], REPOSITORY)
    assert [cell.name.partition(" vs ")[0] for cell in cells] == [
        "none", "fang(side=below)", "lie(z=1.5, side=above)", "lie(z=1.5, side=below)",
    ]  # fmt: skip
    _, cells = plan_grid(["quick", *typed, "attack.side=below"], REPOSITORY)
    assert [cell.config.attack.get("side") for cell in cells] == [None, "below", "below"]
    with pytest.raises(ConfigError, match="side"):
        plan_grid(["quick", "attack=none", "attack.side=below"], REPOSITORY)


@pytest.mark.parametrize(
    ("name", "word"), [("fig4", "bucket size"), ("fig8", "data set"), ("table1", "seeds")]
)
def test_what_the_paper_leaves_unknown_stands_in_the_file(name, word):
    assert any(word in sentence for sentence in read_grid(name, REPOSITORY).unknown)


def test_one_run_of_an_experiment_takes_its_settings_and_not_its_axes():
    config = compose(["experiment=fig2"], REPOSITORY)
    assert config.task.clients == 100
    typed = ["task.clients=100", "observers.skew.null_every=20", "observers.cloud.every=20"]
    assert config_hash(config) == config_hash(compose(typed, REPOSITORY))
    with pytest.raises(ConfigError, match="grid"):
        compose(["+grid.axes.seed=1"], REPOSITORY)
