"""Partitions, data seed and Byzantine clients as configuration: one form, and what is refused."""

import re
from pathlib import Path

import pytest
import yaml

from fl_platform.config import ConfigError, compose, config_hash, flat
from fl_platform.config.rules import fit_parameters, parameters
from fl_platform.config.targets import load_rule
from fl_platform.data import DataError
from fl_platform.run.build import load_population
from fl_platform.run.refusals import refuse_rules
from fl_platform.run.runner import run
from fl_platform.tracking.run_folder import run_folder

ROOT = Path(__file__).parents[2]
FILES = [(g, f) for g in ("model", "partition") for f in sorted((ROOT / "conf" / g).glob("*.yaml"))]


def composed(*overrides):
    return compose(list(overrides), ROOT)


def name(*overrides):
    return config_hash(composed(*overrides))


@pytest.mark.parametrize(
    ("short", "old"),
    [
        (["partition=iid"], ["task.partition=iid"]),
        (["partition=dirichlet"], []),
        (["partition=dirichlet", "partition.beta=0.1"], ["task.beta=0.1"]),
        (["partition=dirichlet", "task.beta=0.1"], ["task.beta=0.1"]),
        (["task=femnist", "partition=writer"], ["task=femnist"]),
        (["byzantine.fraction=0.2", "byzantine.data=share", "data.seed=null"], []),
        (["byzantine.count=null"], []),
    ],
)
def test_old_partitions_keep_the_names_of_their_runs(short, old):
    assert name(*short) == name(*old)


def test_a_partition_of_the_group_is_a_node_of_the_task():
    config = composed("partition=k_classes", "partition.k=3")
    target = "fl_platform.data.partitions.k_classes"
    assert config.task.partition == {"_target_": target, "k": 3, "choice": "cyclic"}
    assert (config.task.beta, config.task.minimum) == (None, 0)
    assert flat(config)["task.partition"] == "k_classes"
    assert flat(config)["task.partition.k"] == 3
    assert name("partition=k_classes") == name("partition=k_classes", "partition.k=2")


@pytest.mark.parametrize(("group", "file"), FILES, ids=lambda it: getattr(it, "stem", it))
def test_a_file_lists_every_parameter_with_the_codes_default(group, file):
    node = yaml.safe_load(file.read_text())
    known = parameters(load_rule(node, f"task.{group}", group))
    assert [key for key in node if key != "_target_"] == list(known)
    assert file.read_text().startswith("# fl-platform run ")
    if file.stem == "dirichlet":  # null stands for what the task says
        return
    filled = fit_parameters(known, node, group)
    assert filled == {key: parameter.default for key, parameter in known.items()}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["partition=nope"], "partition: there is no 'nope'"),
        (["partition=gamma_similarity", "partition.gamma=1.5"], "partition.gamma: expected"),
        (["partition=k_classes", "partition.k=0"], "partition.k: expected"),
        (["partition=shards", "partition.k=2"], "partition.k: shards has no such parameter"),
        (["partition=iid", "partition.beta=2"], "partition.beta: iid has no such parameter"),
        (["partition=sorted", "task.beta=0.1"], "task.beta: expected no such setting beside"),
        (["partition=sorted", "task.partition=iid"], "task.partition: expected no such setting"),
        (["task.partition=k_classes"], "task.partition: expected"),
        (["partition=sorted", "task.clients=null"], "task.clients: expected the number of clients"),
        (["byzantine.count=5", "byzantine.fraction=0.1"], "byzantine.count: expected null beside"),
        (["byzantine.count=26"], "byzantine.count: expected at most half of task.clients=50"),
        (["byzantine.count=-1"], "byzantine.count: expected a number >= 0"),
        (["byzantine.count=0", "attack=strike"], "byzantine.count: expected a number above 0"),
        (["byzantine.data=some"], "byzantine.data: expected one of share, iid, none"),
        (["byzantine.data=none"], "byzantine.data: expected share or iid for attack=none"),
        (
            ["task=femnist", "byzantine.data=iid", "attack=ipm"],
            "byzantine.data: expected share with task.partition=writer",
        ),
        (["data.seed=-1"], "data.seed: expected a number >= 0"),
        (["data.sed=1"], "did you mean 'seed'"),
        (
            ["partition=dirichlet", "partition.beta=-1"],
            "partition.beta: expected a finite number > 0",
        ),
        (["partition=dirichlet", "partition.minimum=0"], "partition.minimum: expected a finite"),
        (
            ["partition=dirichlet", "partition.beta=1", "task.beta=2"],
            "task.beta: expected no such setting beside",
        ),
        (
            ["partition=long_tail", "partition.keep=0"],
            "partition.keep: expected a finite number > 0",
        ),
        (["task.clients=null"], "for partition=dirichlet, got null"),
        (["partition=null"], "partition=null: expected the name of a choice"),
        (["partition.k=3"], "partition.k: expected a choice beside it, as partition=NAME."),
        (["model.hidden=3"], "model=NAME; for the network of the task: task.model.hidden."),
        (
            ["local.steps=3"],
            "local.steps: there is no such setting; did you mean 'task.local.steps'",
        ),
        (["attack.scheduel.start=3"], "did you mean 'attack.schedule.start'"),
        (["partition=sorted", "partition.k=3"], "has no such parameter. It has none."),
    ],
)
def test_wrong_values_are_refused_in_one_line_that_names_the_key(overrides, words):
    with pytest.raises(ConfigError) as refused:
        composed(*overrides)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["partition=k_classes", "partition.k=11"], "partition.k: expected at most 10"),
        (["partition=fang_q", "task.clients=8"], "task.clients: expected at least 10"),
        (["partition=fang_q", "partition.q=0.05"], "partition.q: expected at least 0.1, one of 10"),
        (["partition=writer"], "task.partition: Expected data with writers"),
        (["task.root_samples=1437"], "task.root_samples: expected from 1 to 1436, fewer than"),
    ],
)
def test_what_only_the_data_can_tell_names_the_key_too(overrides, words):
    with pytest.raises((ConfigError, DataError), match=words):
        load_population(composed(*overrides), ROOT)


def test_half_of_the_clients_may_be_byzantine_where_the_rule_allows_it():
    half = ["byzantine.count=25", "attack=ipm"]
    refuse_rules(composed(*half, "defense=mean"), 50)
    with pytest.raises(ConfigError, match="at most f=24"):
        refuse_rules(composed(*half, "defense=median"), 50)
    refuse_rules(composed(*half, "defense=median", "defense.assumed_f=24"), 50)
    assert composed("byzantine.count=7").byzantine.number(50) == 7


@pytest.mark.parametrize("attack", ["label_flip", "bit_flip", "lie attack.knowledge=own"])
def test_an_attack_that_trains_needs_data(attack):
    config = composed(*f"attack={attack} byzantine.data=none".split())
    with pytest.raises(ConfigError, match=r"byzantine\.data: expected share or iid"):
        refuse_rules(config, 50)
    refuse_rules(composed(*f"attack={attack} byzantine.data=iid".split()), 50)


def test_the_data_have_a_seed_of_their_own():
    def digest(*overrides):
        population = load_population(composed("task.validation=0.2", *overrides), ROOT)
        return population.partition.digest

    assert digest("seed=3") == digest("data.seed=3")
    assert digest("seed=3", "data.seed=0") == digest("seed=0")
    assert digest("seed=3") != digest("seed=0")
    assert name("data.seed=0") != name()


@pytest.mark.parametrize("data", ["iid", "none"])
def test_a_run_deals_to_its_honest_clients(tmp_path, data):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    overrides = ["attack=ipm", f"byzantine.data={data}", "byzantine.count=3", "rounds=2"]
    overrides += ["task.clients=10", "partition=sorted", "defense=mean", "defense.weighting=data"]
    config = compose([*overrides, "runtime.tracking=journal", "runtime.progress=none"], tmp_path)
    population = load_population(config, tmp_path)
    sizes = [len(index) for index in population.partition.indices]
    assert sorted(sizes)[:3] == ([0, 0, 0] if data == "none" else sorted(sizes)[:3])
    assert sum(sizes) == (1437 if data == "none" else pytest.approx(1437 * 10 / 7, abs=3))
    assert set(population.federation.sizes) <= {205, 206}
    result = run(config, tmp_path)
    assert result.status == "FINISHED"
    assert (run_folder(tmp_path, config_hash(config)).artifacts / "partition.png").is_file()


PARTITIONS = sorted(path.stem for path in (ROOT / "conf" / "partition").glob("*.yaml"))
MANY = {"shards": ["partition.per_client=40"], "quantity_skew": ["partition.minimum=40"]}


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name != "writer"])
@pytest.mark.parametrize("taken", ["task.samples=30", "task.root_samples=1410"])
def test_too_few_images_name_the_settings_that_this_run_has(name, taken):
    config = composed(f"partition={name}", taken, *MANY.get(name, []))
    with pytest.raises(DataError) as refused:
        load_population(config, ROOT)
    told = str(refused.value)
    assert told.startswith("task.clients: expected at most ")
    assert told.endswith(f"{taken} leaves fewer images.")
    assert "\n" not in told
    own = config.task.partition if isinstance(config.task.partition, dict) else {}
    for word in re.findall(r"(?:task|partition)\.\w+", told):
        assert word.startswith("task.") or word.partition(".")[2] in own
        assert word != "task.minimum" or name == "dirichlet"
