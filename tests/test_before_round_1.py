"""What a model, data set, partition or rule refuses before round 1 is one line with its key."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from fl_platform import models
from fl_platform.config import Config, ConfigError, compose, find_home
from fl_platform.data import Dataset
from fl_platform.federated import Federation
from fl_platform.federated.callbacks.roles import RefusedByRule, refusals
from fl_platform.federated.federation import Samples
from fl_platform.run import runner
from fl_platform.run.build import build_roles
from fl_platform.run.refusals import build_network, check_network, refuse_rules, refused
from fl_platform.run.runner import run

NETWORKS = [
    name
    for name in models.__all__
    if "num_classes" in inspect.signature(getattr(models, name)).parameters
]
SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "two bands": (2, 32, 32),
    "a strip": (1, 64, 4),
    "tabular": (5,),
    "tokens": (7,),
}


def dataset(task: str, largest_token: int = 99) -> Dataset:
    shape = SHAPES[task]
    if task == "tokens":
        inputs = torch.full((8, *shape), largest_token)
    elif task == "tabular":
        inputs = torch.zeros(8, *shape)
    else:
        inputs = torch.zeros(8, *shape, dtype=torch.uint8)
    labels, channels = torch.arange(8) % 4, shape[0] if inputs.dtype == torch.uint8 else 1
    moments = ((0.5,) * channels, (0.5,) * channels)
    return Dataset(task, inputs, labels, inputs, labels, 4, *moments)


def federation(data: Dataset, *sizes: int) -> Federation:
    own = torch.arange(8).split(list(sizes))
    return Federation(Samples(data.train_images, data.train_labels), own, data.num_classes)


def config(*overrides: str) -> Config:
    return compose(["task=digits", *overrides], find_home(None, {}, Path.cwd()))


def with_network(name: str, **parameters: object) -> Config:
    whole = config()
    node = {"_target_": f"fl_platform.models.{name}", **parameters}
    return dataclasses.replace(whole, task=dataclasses.replace(whole.task, model=node))


@pytest.mark.parametrize("task", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_refused_by_its_key_or_takes_a_step(name: str, task: str) -> None:
    whole, data = with_network(name), dataset(task)
    refusal = ""
    try:
        check_network(whole, data, federation(data, 4, 4))
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("task.model: ")
        assert "\n" not in refusal
        return
    network = build_network(whole, data).train()
    inputs = data.train_images[:2]
    scores = network(inputs if task == "tokens" else inputs.float())
    assert scores.shape == (2, 4)
    torch.nn.functional.cross_entropy(scores, data.train_labels[:2]).backward()


def test_each_network_passes_for_some_task_and_each_task_has_one() -> None:
    passed = set()
    for name in NETWORKS:
        for task in SHAPES:
            data = dataset(task)
            try:
                check_network(with_network(name), data, federation(data, 4, 4))
            except ConfigError:
                continue
            passed.add((name, task))
    assert {name for name, _ in passed} == set(NETWORKS)
    assert {task for _, task in passed} == set(SHAPES)


def test_a_token_beyond_the_vocabulary_is_refused() -> None:
    data = dataset("tokens", largest_token=100)
    small, large = (with_network("bag_of_words", vocabulary=size) for size in (100, 101))
    with pytest.raises(ConfigError, match=r"task\.model\.vocabulary: expected more than .* 100"):
        check_network(small, data, federation(data, 8))
    check_network(large, data, federation(data, 8))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("sizes", [(4, 4), (7, 1)])
def test_batch_normalisation_of_one_sample_is_refused(batch: int, sizes: tuple[int, ...]) -> None:
    data = dataset("cifar10")
    for name, norm in (("resnet18", "batch"), ("resnet18", "group"), ("resnet20", "batch")):
        whole = with_network(name, norm=norm)
        local = dataclasses.replace(whole.task.local, batch=batch)
        whole = dataclasses.replace(whole, task=dataclasses.replace(whole.task, local=local))
        if norm == "group" or (batch == 2 and 1 not in sizes):
            check_network(whole, data, federation(data, *sizes))
            continue
        key = "batch" if batch == 1 else "minimum"
        with pytest.raises(ConfigError, match=rf"^task\.(local\.)?{key}: .*model\.norm=group"):
            check_network(whole, data, federation(data, *sizes))


@pytest.mark.parametrize("group", ["attack", "defense", "mixing"])
def test_what_a_rules_constructor_refuses_names_its_key(group: str, monkeypatch) -> None:
    from fl_platform.run import refusals

    whole = config("attack=strike", "defense=median", "mixing=nnm")
    node = {"mixing": whole.mixing[0]}.get(group, getattr(whole, group))
    real = refusals.build_rule

    def refusing(rule, *args, **given):
        if rule["_target_"] == node["_target_"]:
            raise ValueError("Expected another value.")
        return real(rule, *args, **given)

    monkeypatch.setattr(refusals, "build_rule", refusing)
    with pytest.raises(ConfigError, match=f"^{group}: Expected another value"):
        build_roles(whole)


def test_a_message_that_names_its_key_keeps_it() -> None:
    with pytest.raises(ConfigError, match=r"^task\.data\.resize: expected"), refused("task.data"):
        raise ValueError("task.data.resize: expected more.")
    with pytest.raises(ConfigError, match=r"^task\.data: Expected"), refused("task.data"):
        raise ValueError("Expected more: or less.")
    with pytest.raises(KeyError), refused("task.data"):
        raise KeyError("a fault of ours")


# Small enough for a run per rule: 50 clients of two images, one batch each, a linear network.
SMALL = ["task.samples=100", "task.partition=iid", "task.minimum=0", "model=logistic_regression"]
SMALL += ["rounds=1", "observers=none", "runtime.tracking=journal", "runtime.progress=none"]


def one_round(home: Path, *overrides: str) -> str:
    """The refusal of a run, or the empty text; any other exception is a fault."""
    try:
        run(config(*SMALL, *overrides), home)
    except ConfigError as error:
        return str(error)
    return ""


def test_each_defense_runs_with_its_defaults_or_is_refused_with_its_key(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(runner, "write_artifacts", lambda *_: [])  # half of the time
    names = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/defense").glob("*"))
    told = {name: one_round(tmp_path, "attack=ipm", f"defense={name}") for name in names}
    refusals = {name: text for name, text in told.items() if text}
    assert set(refusals) == {"fltrust", "smea"}
    assert refusals["fltrust"].startswith("defense: Expected reference in the context of fltrust")
    assert refusals["smea"].startswith("defense: Expected at most max_subsets=200,000")


@pytest.mark.parametrize(
    ("overrides", "refusal"),
    [
        ("defense=monna defense.pivot=reference", "defense: Expected a reference for monna"),
        ("defense=monna defense.pivot=50", "defense: Expected pivot as reference or a row below"),
        ("defense=foolsgold mixing=nnm", "defense: Expected no mixing of rows before foolsgold"),
        ("attack=fang defense=smea", "defense: Expected at most max_subsets"),
        ("attack=label_flip attack.source=3", "attack: Expected source and target together"),
        ("attack=label_flip attack.source=10 attack.target=1", "attack: Expected source from 0"),
    ],
)
def test_settings_of_rules_that_do_not_fit_are_one_line(
    overrides: str, refusal: str, tmp_path: Path
) -> None:
    attack = [] if "attack=" in overrides else ["attack=ipm"]
    told = one_round(tmp_path, *attack, *overrides.split())
    assert told.startswith(refusal)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("overrides", "refusal"),
    [
        ("byzantine.fraction=1e-12", "byzantine.fraction: expected at least one Byzantine"),
        ("byzantine.count=25 defense=median", "byzantine.count: Expected at most f=24"),
        ("defense=median defense.assumed_f=40", "defense.assumed_f: Expected at most f=24"),
        (
            "byzantine.count=1 task.sampled=5 byzantine.sampling=fixed_share",
            "byzantine.count: expected at least one Byzantine client among 5",
        ),
        ("attack=absent attack.schedule.ramp=2", r"attack.schedule.ramp: expected 0 for attack"),
    ],
)
def test_the_number_of_byzantine_clients_is_refused_by_the_key_that_sets_it(
    overrides: str, refusal: str
) -> None:
    attack = [] if "attack=" in overrides else ["attack=ipm"]
    with pytest.raises(ConfigError) as refused_with:
        refuse_rules(config(*attack, *overrides.split()), 50)
    assert str(refused_with.value).startswith(refusal)


def test_a_fault_in_a_rule_keeps_its_traceback() -> None:
    with pytest.raises(RefusedByRule), refusals("attack"):
        raise ValueError("Expected two rows, got one.")
    with pytest.raises(ValueError, match="not enough values") as fault, refusals("attack"):
        raise ValueError("not enough values to unpack (expected 2, got 1)")
    assert not isinstance(fault.value, RefusedByRule)
