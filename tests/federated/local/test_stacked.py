"""Clients as one stack of batched products against clients one after the other."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.attacks import label_flip
from fl_platform.core import generator
from fl_platform.federated.client_training import (
    Clients,
    LocalTraining,
    build_way,
    stacked_convolution,
)
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.stacked_network import (
    StackedNetwork,
    spares_products,
    stacking_obstacle,
)
from fl_platform.federated.client_training.stacked_training import BUDGET, Stacked, cross_entropy
from fl_platform.federated.federation import Federation, Samples
from fl_platform.models import femnist_cnn, mlp, small_alexnet

SETTINGS = {
    "plain": LocalTraining(batch=4, lr=0.1, momentum=0.0, clip=None),
    "decay": LocalTraining(epochs=2, batch=4, lr=0.05, momentum=0.9, weight_decay=0.1, clip=0.5),
    "one-batch": LocalTraining(epochs=2, batch=64, lr=0.1, momentum=0.5, clip=2.0),
}
CLIENTS = [6, 0, 2, 3, 5, 1]
NETWORKS = {
    "mlp": (mlp, (1, 8, 8), 10),
    "femnist": (femnist_cnn, (1, 28, 28), 62),
    "alexnet": (small_alexnet, (3, 32, 32), 10),
}


@pytest.fixture
def double():
    """The default type of new tensors for a test, as Lightning's 64-true sets it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def task():
    """One of the three networks and seven unequal clients with images of its shape."""

    def make(name):
        build, shape, classes = NETWORKS[name]
        stream = generator(0, "stacked-images", classes)
        sizes = [9, 4, 1, 12, 8, 5, 3]
        inputs = torch.randint(256, (sum(sizes), *shape), generator=stream, dtype=torch.uint8)
        targets = torch.randint(classes, (sum(sizes),), generator=stream)
        samples = Samples(inputs, targets, (0.5,) * shape[0], (0.25,) * shape[0])
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model = build(classes, shape)
        return model, Federation(samples, torch.arange(sum(sizes)).split(sizes), classes)

    return make


def small():
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.GroupNorm(2, 6), nn.ReLU(),
            nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU()), nn.Dropout(0.0),
            nn.Flatten(), nn.Linear(16, 5),
        )  # fmt: skip


def apart(rows, expected):
    """The largest distance of a client's update from what is expected, over its length."""
    return float(((rows - expected).norm(dim=1) / expected.norm(dim=1)).max())


@pytest.fixture(params=["bands", "banded patches", "patches"])
def kind(request, monkeypatch):
    """Every convolution computed so, whatever costs less."""
    kinds = {
        "bands": stacked_convolution.Bands,
        "banded patches": stacked_convolution.BandedPatches,
        "patches": stacked_convolution.Patches,
    }
    for name, other in kinds.items():
        if name != request.param:
            monkeypatch.setattr(other, "cost", lambda *_: float("inf"))
    return kinds[request.param]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["femnist", "alexnet"])
def test_updates_in_float64_equal_the_sequential_ones(double, task, trained, name, settings, kind):
    arguments = (*task(name), CLIENTS, SETTINGS[settings], 3, 5)
    rows, losses = trained(Stacked, *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    assert apart(rows, expected) < 1e-10
    torch.testing.assert_close(losses, expected_losses, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_updates_in_float32_equal_the_sequential_ones_within_rounding(task, trained, name):
    arguments = (*task(name), CLIENTS, SETTINGS["decay"], 3, 5)
    rows, losses = trained(Stacked, *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    assert rows.dtype == torch.float32
    assert apart(rows, expected) < 1e-5
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_norms_nested_chains_and_perceptrons_too(double, images, task, trained, settings):
    for model, federation in ((small(), images), task("mlp")):
        arguments = (model, federation, CLIENTS, SETTINGS[settings])
        assert apart(trained(Stacked, *arguments)[0], trained(Sequential, *arguments)[0]) < 1e-10


@pytest.mark.parametrize(
    "other",
    [
        {"clip": None},
        {"weight_decay": 0.0},
        {"momentum": 0.0},
        {"epochs": 1},
        {"lr": 0.0501},
        {"batch": 3},
    ],
)
def test_the_comparison_notices_each_setting(images, trained, other):
    expected, _ = trained(Sequential, small(), images, [0, 3], SETTINGS["decay"])
    changed = replace(SETTINGS["decay"], **other)
    assert apart(trained(Stacked, small(), images, [0, 3], changed)[0], expected) > 1e-4


@pytest.mark.parametrize(("chunk", "bucket"), [(1, 1), (4, 1), (1, 2), (4, 4), (6, 3), (6, 8)])
def test_neither_chunks_nor_rounding_up_change_updates(double, images, trained, chunk, bucket):
    arguments = (small(), images, CLIENTS, SETTINGS["decay"])
    rows, losses = trained(partial(Stacked, chunk=chunk, bucket=bucket), *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    assert apart(rows, expected) < 1e-10
    torch.testing.assert_close(losses, expected_losses)


def test_active_clients_are_rounded_up_to_whole_buckets(images, monkeypatch):
    taken = []
    original = Stacked._step
    monkeypatch.setattr(Stacked, "_step", lambda self, n: [taken.append(n), original(self, n)])
    settings = LocalTraining(batch=4, epochs=1)  # 1, 3, 1, 3, 2, 1 steps
    model, seen = small(), {}
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    for bucket in (1, 2, 4, 8):
        way = Stacked(model, Clients(images, settings), bucket=bucket)
        way.train(CLIENTS, 0, (start, []), torch.empty(6, len(start)))
        seen[bucket], taken[:] = tuple(taken), []
    assert seen == {1: (6, 3, 2), 2: (6, 4, 2), 4: (8, 4, 4), 8: (8, 8, 8)}


def test_a_client_that_has_finished_does_not_move_even_if_its_gradient_is_not_finite(images):
    way = Stacked(small(), Clients(images, SETTINGS["decay"]), bucket=8)
    way._prepare(way._precision())
    way.parameters.normal_(generator=generator(0, "stack"))
    way.momentum.fill_(float("inf"))
    way._steps[:3] = 1
    before = way.parameters.clone()
    way._step(8)
    moved = (way.parameters != before).any(1)
    assert moved.tolist() == [True] * 3 + [False] * 5


def test_a_client_that_diverges_takes_nobody_along(images, trained):
    inputs = images.samples.inputs.float() / 255
    inputs[images.clients[3][0]] = float("inf")
    federation = Federation(Samples(inputs, images.samples.targets), images.clients, 5)
    for bucket in (1, 8):
        way = partial(Stacked, bucket=bucket)
        rows, _ = trained(way, small(), federation, CLIENTS, SETTINGS["decay"])
        assert rows.isfinite().all(1).tolist() == [client != 3 for client in CLIENTS]


def test_poisoned_labels(double, images, trained):
    arguments = (small(), images, CLIENTS, SETTINGS["decay"])
    flip = partial(label_flip, num_classes=5)
    rows, _ = trained(Stacked, *arguments, relabel=flip)
    assert apart(rows, trained(Sequential, *arguments, relabel=flip)[0]) < 1e-10
    assert apart(rows, trained(Sequential, *arguments)[0]) > 1e-2


@pytest.mark.parametrize("frozen", [[0], [1], [6], [0, 1, 3]])
def test_frozen_layers_stay_as_they_are_even_under_decay(double, images, trained, frozen):
    model = small()
    for layer in frozen:
        model[layer].requires_grad_(False)
    arguments = (model, images, CLIENTS, SETTINGS["decay"])
    rows, _ = trained(Stacked, *arguments)
    assert apart(rows, trained(Sequential, *arguments)[0]) < 1e-10
    still = torch.cat([torch.full((p.numel(),), not p.requires_grad) for p in model.parameters()])
    assert not rows[:, still].any()
    assert rows[:, ~still].any()


def test_one_way_trains_round_after_round(double, images):
    model = small()
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    ways = [way(model, Clients(images, SETTINGS["decay"])) for way in (Stacked, Sequential)]
    for index, clients in enumerate(([0, 3, 1], [3], [6, 2, 0, 5, 1, 4])):
        rows = [torch.empty(len(clients), len(start)) for _ in ways]
        for way, own in zip(ways, rows, strict=True):
            way.train(clients, index, (start, []), own)
        assert apart(*rows) < 1e-10
        start = start - rows[1].mean(0)


def test_a_chunk_is_a_rule_of_bytes(monkeypatch, images):
    network = StackedNetwork(small(), (1, 8, 8), 4)
    one = network.bytes_per_client(4)
    assert one > 4 * (3 * 252 + 2 * 4 * 64)  # three vectors of parameters, inputs twice
    for clients in (1, 3, 100):
        monkeypatch.setitem(BUDGET, "cpu", one * clients + 1)
        way = Stacked(small(), Clients(images, SETTINGS["plain"]))
        assert way.chunk == min(clients, len(images))


LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 3, 3, padding=1), (4, 6, 5)),
    "conv, strides": (lambda: nn.Conv2d(4, 3, (3, 2), stride=(2, 3)), (4, 7, 8)),
    "conv, wide padding": (lambda: nn.Conv2d(2, 3, 5, padding=4, bias=False), (2, 3, 2)),
    "conv, dilation": (lambda: nn.Conv2d(2, 3, 3, padding=2, dilation=2), (2, 6, 5)),
    "conv, large kernel and stride": (lambda: nn.Conv2d(3, 4, 7, 4, 3), (3, 12, 13)),
    "conv, one pixel": (lambda: nn.Conv2d(4, 3, 3, padding=1), (4, 1, 1)),
    "conv, stride over kernel": (lambda: nn.Conv2d(2, 3, 1, stride=2), (2, 5, 5)),
    "linear": (lambda: nn.Linear(7, 4), (7,)),
    "linear, no bias": (lambda: nn.Linear(7, 4, bias=False), (7,)),
    "relu": (nn.ReLU, (3, 4, 5)),
    "max pool": (lambda: nn.MaxPool2d(2), (3, 5, 6)),
    "max pool, overlapping": (lambda: nn.MaxPool2d(3, 2, padding=1), (3, 7, 6)),
    "average pool": (lambda: nn.AvgPool2d(2), (3, 4, 6)),
    "average pool, overlapping": (lambda: nn.AvgPool2d(3, 1, padding=1), (3, 4, 6)),
    "adaptive pool": (lambda: nn.AdaptiveAvgPool2d((2, 1)), (3, 4, 6)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 5)),
    "group norm, plain": (lambda: nn.GroupNorm(2, 4, affine=False), (4, 3, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_each_layer_equal_those_of_autograd(double, name, kind):
    """Between two linear maps, so that the gradient to its input shows too."""
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = build()
    before = nn.Conv2d(shape[0], shape[0], 1) if len(shape) == 3 else nn.Linear(7, 7)
    features = layer(torch.zeros(1, *shape)).numel()
    models = [nn.Sequential(before, layer, nn.Flatten(), nn.Linear(features, 3)) for _ in "ab"]
    network = StackedNetwork(models[0], shape, 3)
    network.prepare(2, torch.device("cpu"), torch.float64)
    stack, gradients = torch.zeros(2, network.width), torch.full((2, network.width), torch.nan)
    inputs, upper = torch.randn(2, 3, *shape), torch.randn(2, 3, 3)
    expected, outputs = [], []
    for client in range(2):
        for parameter in models[0].parameters():
            nn.init.normal_(parameter)
        flat = nn.utils.parameters_to_vector(models[0].parameters()).detach()
        network.load(flat, stack[client : client + 1])
        outputs.append(models[0](inputs[client]))
        models[0].zero_grad()
        (outputs[-1] * upper[client]).sum().backward()
        expected.append(torch.cat([p.grad.reshape(-1) for p in models[0].parameters()]))
    walked = inputs.movedim(2, -1).contiguous() if len(shape) == 3 else inputs
    with torch.no_grad():
        torch.testing.assert_close(network.forward(walked, stack), torch.stack(outputs))
        network.backward(upper.clone(), stack, gradients)
    for slot in network.slots:
        found = slot.unload(gradients).flatten(1)
        torch.testing.assert_close(found, torch.stack(expected)[:, slot.source])


def test_cross_entropy_equals_torch_and_leaves_filled_up_samples_out(double):
    outputs = (10 * torch.randn(3, 4, 5)).requires_grad_()
    targets = torch.randint(5, (3, 4))
    counts = torch.tensor([[4, 4, 4, 4], [2, 2, 0, 0], [0, 0, 0, 0]])
    losses, gradient = cross_entropy(outputs.detach(), targets.int(), counts.int())
    expected = [
        F.cross_entropy(outputs[0], targets[0]),
        F.cross_entropy(outputs[1, :2], targets[1, :2]),
        outputs.new_zeros(()),
    ]
    torch.testing.assert_close(losses, torch.stack(expected).detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(expected), outputs)[0])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), "BatchNorm2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Dropout(0.5)), "Dropout"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.Flatten()), "padding by name"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), "maps"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), "maps"),
        (nn.Sequential(nn.Linear(8, 5), nn.Flatten()), "Linear of 8 inputs"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9, 5)), "windows differ"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(64, 5)), "some dimensions"),
        (nn.Sequential(nn.Conv2d(1, 4, 9), nn.Flatten(), nn.Linear(4, 5)), "less than its kernel"),
    ],
)
def test_what_the_walk_does_not_know_is_refused_by_name(images, model, reason):
    assert reason in stacking_obstacle(model, (1, 8, 8))
    with pytest.raises(ValueError, match=reason):
        Stacked(model, Clients(images, SETTINGS["plain"]))


def test_hooks_weights_used_twice_and_other_losses_are_refused(images):
    layer = nn.Linear(64, 64)
    tied = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)
    assert "more than once" in stacking_obstacle(tied, (1, 8, 8))
    hooked = mlp(5, (1, 8, 8))
    assert not stacking_obstacle(hooked, (1, 8, 8))
    assert "cross-entropy" in stacking_obstacle(hooked, (1, 8, 8), F.multi_margin_loss)
    hooked[1].register_forward_hook(lambda *_: None)
    assert "hooks" in stacking_obstacle(hooked, (1, 8, 8))


def test_bands_are_taken_over_small_maps_and_spare_products_there():
    kinds = {
        batch: [
            type(layer).__name__
            for layer in StackedNetwork(small_alexnet(10, (3, 32, 32)), (3, 32, 32), batch).layers
            if isinstance(layer, stacked_convolution.Convolution)
        ]
        for batch in (8, 128)
    }
    assert kinds == {8: ["Patches"] * 5, 128: ["BandedPatches", *["Bands"] * 4]}
    assert spares_products(small_alexnet(10, (3, 32, 32)), (3, 32, 32), 128)
    assert not spares_products(femnist_cnn(62, (1, 28, 28)), (1, 28, 28), 128)
    assert not spares_products(mlp(10, (1, 8, 8)), (1, 8, 8), 16)


@pytest.mark.parametrize("bucket", [1, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_round_never_waits_for_a_device_because_one_without_memory_can_train_it(
    task, name, bucket
):
    """On the meta device every answer that Python would wait for raises: shapes are all it has."""
    model, federation = task(name)
    samples = federation.samples.to(torch.device("meta"))
    samples.__dict__["host_targets"] = federation.samples.targets  # read once, when built
    clients = Clients(replace(federation, samples=samples), SETTINGS["decay"])
    start = nn.utils.parameters_to_vector(model.parameters()).detach().to("meta")
    rows = torch.empty(6, len(start), device="meta")
    for kind in (partial(Stacked, bucket=bucket), Stacked):
        way = kind(model.to("meta"), clients)
        flip = partial(label_flip, num_classes=federation.num_classes)
        losses = way.train(CLIENTS, 0, (start, []), rows, relabel=flip)
        assert losses.device.type == "meta"
    for question in (Tensor.item, Tensor.nonzero, Tensor.cpu, Tensor.tolist, bool):
        with pytest.raises((RuntimeError, NotImplementedError)):
            question(losses.sum())


@pytest.mark.parametrize("way", ["stacked", "vmapped", "sequential", "channels_last"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_client_that_is_not_finite_harms_no_later_round(way, frozen):
    """Clipping multiplies by NaN what no layer writes: padding, frozen parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    model[1].bias.requires_grad_(not frozen)
    samples = Samples(torch.randn(40, 8), torch.arange(40) % 3)
    federation = Federation(samples, tuple(torch.arange(40).split(10)), 3)
    trainer = build_way(way, model, Clients(federation, LocalTraining(batch=5, clip=2.0)))
    good = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    rows = torch.empty(4, len(good))
    trainer.train(range(4), 0, (torch.full_like(good, math.nan), []), rows)
    assert not rows.isfinite().all()
    trainer.train(range(4), 1, (good, []), rows)
    assert rows.isfinite().all()
