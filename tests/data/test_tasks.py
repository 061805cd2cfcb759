"""The shipped tasks against the settings that the paper's authors publish."""

import inspect
from pathlib import Path

import pytest

from fl_platform.config import build_rule, compose
from fl_platform.data import digits
from fl_platform.models import num_parameters

HOME = Path(__file__).parents[2]
TASKS = sorted(path.stem for path in (HOME / "conf" / "task").glob("*.yaml"))


def test_all_tasks_are_here():
    images = {"cifar10", "cifar100", "digits", "emnist", "fashion_mnist", "femnist", "imagenet12"}
    assert set(TASKS) == images | {"arrays", "mnist", "svhn", "tabular", "tokens"}


@pytest.mark.parametrize("name", TASKS)
def test_data_and_model_list_every_setting_with_its_default(name):
    task = compose([f"task={name}"], HOME).task
    for node in (task.data, task.model):
        rule = build_rule(node).func
        parameters = inspect.signature(rule).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        written = {key: value for key, value in node.items() if key != "_target_"}
        assert written == defaults
    assert task.name == name


@pytest.mark.parametrize(
    ("name", "classes", "image_shape", "size"),
    [
        ("digits", 10, (1, 8, 8), 4_810),
        ("cifar10", 10, (3, 32, 32), 2_472_266),
        ("femnist", 62, (1, 28, 28), 848_382),
        ("imagenet12", 12, (3, 224, 224), 11_182_668),
        ("mnist", 10, (1, 28, 28), 431_080),
        ("fashion_mnist", 10, (1, 28, 28), 431_080),
        ("emnist", 47, (1, 28, 28), 840_687),
        ("cifar100", 100, (3, 32, 32), 275_572),
        ("svhn", 10, (3, 32, 32), 2_472_266),
    ],
)
def test_models_have_the_published_sizes(name, classes, image_shape, size):
    model = build_rule(compose([f"task={name}"], HOME).task.model)
    assert num_parameters(model(classes, image_shape)) == size


@pytest.mark.parametrize(
    ("name", "clients", "sampled", "rounds", "lr", "momentum"),
    [
        ("cifar10", 50, None, 200, 0.1, 0.9),
        ("imagenet12", 50, None, 200, 0.1, 0.9),
        ("femnist", None, 10, 800, 0.5, 0.5),
    ],
)
def test_settings_of_the_official_code(name, clients, sampled, rounds, lr, momentum):
    task = compose([f"task={name}"], HOME).task
    local = task.local
    assert (task.clients, task.sampled, task.rounds) == (clients, sampled, rounds)
    assert (local.epochs, local.batch, local.lr, local.momentum) == (1, 128, lr, momentum)
    assert (local.weight_decay, local.clip) == (1e-4, 2.0)
    if name != "femnist":
        assert (task.partition, task.beta, task.minimum) == ("dirichlet", 0.5, 10)


def test_the_digits_task_can_be_dealt_out():
    from fl_platform.data import divide

    task, data = compose(["task=digits"], HOME).task, digits()
    for seed in range(5):
        partition = divide(
            data, task.partition, task.clients, seed, beta=task.beta, minimum=task.minimum
        )
        assert len(partition) == 50
        assert partition.moved == 0
        assert min(map(len, partition.indices)) >= 4
