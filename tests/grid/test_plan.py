"""A plan composes combinations that differ in the seed once, without changing any of them."""

import random
import shutil
from itertools import product
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.grid.grid_run import plan_params
from fl_platform.grid.plan import plan

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(tmp_path):
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    return tmp_path


def every(**axes):
    keys = [key.replace("__", ".") for key in axes]
    return [[f"{k}={v}" for k, v in zip(keys, way, strict=True)] for way in product(*axes.values())]


def composed(monkeypatch):
    """How many combinations were composed by Hydra."""
    calls = []
    monkeypatch.setattr(
        "fl_platform.grid.plan.compose",
        lambda *arguments, **options: calls.append(1) or compose(*arguments, **options),
    )
    return calls


def test_seeds_are_composed_once_and_change_nothing(monkeypatch):
    calls = composed(monkeypatch)
    ways = every(
        task=["digits", "cifar10"],
        attack=["none", "strike"],
        defense=["median"],
        seed=[0, 1, 2, 7],
    )
    random.Random(3).shuffle(ways)
    cells = plan(ways, REPOSITORY)
    assert len(calls) == 4
    assert [cell.config for cell in cells] == [compose(way, REPOSITORY) for way in ways]


def test_the_number_of_rounds_follows_the_task_unless_typed():
    ways = every(seed=[0, 1], task=["digits", "cifar10"])
    assert [cell.config.rounds for cell in plan(ways, REPOSITORY)] == [60, 200, 60, 200]
    (typed,) = plan([["task=cifar10", "seed=1", "rounds=7"]], REPOSITORY)
    assert typed.config.rounds == 7


def test_a_file_that_refers_to_the_seed_is_composed_for_each_seed(own, monkeypatch):
    """Composed once, the second seed would keep the first one's strength."""
    attack = own / "conf" / "attack" / "lie.yaml"
    attack.write_text(attack.read_text().replace("z: 1.5", "z: ${seed}"))
    calls = composed(monkeypatch)
    cells = plan(every(attack=["lie"], seed=[1, 2]), own)
    assert [cell.config.attack["z"] for cell in cells] == [1.0, 2.0]
    assert len(calls) == 2


def test_an_experiment_that_reaches_into_a_rule_does_so_in_every_cell(own):
    text = "# @package _global_\nattack: {nu: 5.0}\nrounds: 9\n"
    (own / "conf" / "experiment" / "reach.yaml").write_text(text)
    ways = every(experiment=["reach"], attack=["strike"], defense=["mean", "median"], seed=[0, 1])
    made = [cell.config for cell in plan(ways, own)]
    assert {(config.attack["nu"], config.rounds) for config in made} == {(5.0, 9)}


def test_equal_configurations_are_one_cell_and_order_is_kept():
    ways = [
        ["seed=1"],
        ["attack=strike"],
        ["attack=strike", "attack.nu=1"],
        ["seed=1", "rounds=60"],
    ]
    cells = plan(ways, REPOSITORY, experiment="any")
    assert [cell.overrides for cell in cells] == [("seed=1",), ("attack=strike",)]
    assert [cell.config_hash for cell in cells] == [
        config_hash(compose(way, REPOSITORY)) for way in ways[:2]
    ]
    assert {cell.config.experiment for cell in cells} == {"any"}


@pytest.mark.parametrize(
    "bad",
    [
        ["attack=strike", "attack.nuu=1"],
        ["attack=strike", "attack.nu=-1"],
        ["seed=-1"],
        ["seed=9223372036854775808"],
        ["task.clients=3", "byzantine.fraction=0.4"],
        ["+extra=1"],
    ],
)
def test_a_cell_that_cannot_run_is_refused_and_named(bad):
    with pytest.raises(ConfigError, match="In the run"):
        plan([["seed=0"], ["attack=lie"], bad], REPOSITORY)


def test_parts_refused_beside_the_first_are_fine_beside_others():
    ways = [
        ["task.clients=3", "byzantine.fraction=0.1"],
        ["task.clients=50", "byzantine.fraction=0.4"],
    ]
    cells = plan(ways, REPOSITORY)
    assert [cell.config.byzantine.fraction for cell in cells] == [0.1, 0.4]


def test_a_parent_shows_the_rules_tasks_and_seeds_of_its_runs():
    axes = every(task=["digits"], attack=["none", "strike"], defense=["median", "dnc"], seed=[0, 1])
    params = plan_params(plan(axes, REPOSITORY))
    assert params["grid.attack"] == "none, strike(nu=1)"
    assert params["grid.defense"] == "median, dnc"
    assert (params["grid.task"], params["grid.seed"]) == ("digits", "0, 1")
    assert params["grid.mixing"] == "none"
    assert params["grid.rounds"] == "60"
