"""Planning composes parts, and comes to what composing each combination comes to."""

import random
import shutil
from itertools import product
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.grid.plan import Composer, divide, plan

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(tmp_path):
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    return tmp_path


def every(**axes):
    keys = [key.replace("__", ".") for key in axes]
    return [[f"{k}={v}" for k, v in zip(keys, way, strict=True)] for way in product(*axes.values())]


def test_parts_composed_once_make_what_each_composition_makes():
    ways = every(
        task=["digits", "cifar10"],
        preset=["none", "official"],
        attack=["none", "lie", "strike"],
        defense=["mean", "median"],
        mixing=["none", "nnm_bucketing"],
        task__beta=[0.1, 0.5],
        seed=[0, 1, 2],
    )
    random.Random(3).shuffle(ways)
    composer = Composer(REPOSITORY)
    made = [composer(tuple(way)) for way in ways]
    assert composer.composed < len(ways) // 8
    for way, config in list(zip(ways, made, strict=True))[::23]:
        assert config == compose(way, REPOSITORY)


def test_the_number_of_rounds_follows_the_task_unless_typed():
    composer = Composer(REPOSITORY)
    rounds = [
        composer((f"task={t}", f"seed={s}")).rounds for s in (0, 1) for t in ("digits", "cifar10")
    ]
    assert rounds == [60, 200, 60, 200]
    assert composer(("task=cifar10", "seed=1", "rounds=7")).rounds == 7
    assert composer(("task=cifar10", "seed=1")).rounds == 200


def test_a_reference_between_parts_is_noticed(own):
    """With the shortcut the second task's LIE would keep the first task's strength."""
    attack = own / "conf" / "attack" / "lie.yaml"
    attack.write_text(attack.read_text().replace("z: 1.5", "z: ${task.beta}"))
    ways = every(attack=["none", "lie"], task__beta=[0.1, 0.9])
    composer = Composer(own)
    assert [composer(tuple(way)).attack.get("z") for way in ways] == [None, None, 0.1, 0.9]
    assert composer.composed == len(ways)


def test_a_reference_in_the_root_file_is_noticed(own):
    root = own / "conf" / "config.yaml"
    root.write_text(root.read_text().replace("lr: 1.0 #", "lr: ${task.beta} #"))
    composer = Composer(own)
    ways = every(task__beta=[0.1, 0.9], attack=["none", "lie"])
    assert [composer(tuple(way)).server.lr for way in ways] == [0.1, 0.1, 0.9, 0.9]


def test_an_experiment_that_reaches_into_a_rule_does_so_in_every_cell(own):
    text = "# @package _global_\nattack: {nu: 5.0}\nrounds: 9\n"
    (own / "conf" / "experiment" / "reach.yaml").write_text(text)
    composer = Composer(own)
    ways = every(experiment=["reach"], attack=["strike"], defense=["mean", "median"], seed=[0, 1])
    made = [composer(tuple(way)) for way in ways]
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
    with pytest.raises(ConfigError, match="In the cell"):
        plan([["seed=0"], ["attack=lie"], bad], REPOSITORY)


def test_parts_refused_beside_the_first_are_fine_beside_others():
    ways = [
        ["task.clients=3", "byzantine.fraction=0.1"],
        ["task.clients=50", "byzantine.fraction=0.4"],
    ]
    cells = plan(ways, REPOSITORY)
    assert [cell.config.byzantine.fraction for cell in cells] == [0.1, 0.4]


def test_keys_of_unknown_reach_are_told_apart():
    assert divide(["seed=1", "+a=1"]) is None
    assert divide(["attack=lie", "attack.z=${seed}"]) is None
    context, parts = divide(["preset=paper", "rounds=3", "task=digits", "task.beta=1"])
    assert context == ("preset=paper",)
    assert parts == {"task": ("rounds=3", "task=digits", "task.beta=1")}
