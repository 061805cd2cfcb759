"""Clients side by side against clients one after the other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fl_platform.federated.client_training import Clients, LocalTraining
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.stacked import cross_entropy, is_perceptron
from fl_platform.federated.client_training.vmapped import Vmapped, obstacle
from fl_platform.federated.federation import Federation, Samples
from fl_platform.models import bucketing_cnn, femnist_cnn, mlp

SETTINGS = {
    "plain": LocalTraining(batch=4, lr=0.1, momentum=0.0, clip=None),
    "momentum": LocalTraining(epochs=3, batch=4, lr=0.1, momentum=0.9, clip=None),
    "clipped": LocalTraining(epochs=2, batch=4, lr=0.5, momentum=0.9, clip=0.05),
    "decay": LocalTraining(epochs=2, batch=3, lr=0.1, momentum=0.5, weight_decay=0.1, clip=0.3),
    "one-batch": LocalTraining(epochs=2, batch=64, lr=0.1, momentum=0.5, clip=2.0),
    "single": LocalTraining(epochs=1, batch=1, lr=0.05, momentum=0.5, clip=2.0),
}
CLIENTS = [6, 0, 2, 3, 5, 1]


def perceptron():
    return mlp(5, (1, 8, 8), hidden=7)


def no_bias():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 6, bias=False), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(),
        nn.Linear(4, 5),
    )  # fmt: skip


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 5),
    )  # fmt: skip


def tied():
    layer = nn.Linear(8, 8)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), layer, nn.Tanh(), layer, nn.Linear(8, 5))


MODELS = {f.__name__: f for f in (perceptron, no_bias, convolutions, tied)}


@pytest.fixture
def build():
    def make(name):
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            return MODELS[name]()

    return make


def chunks_of(size):
    return lambda model, clients: Vmapped(model, clients, chunk=size)


def close(left, right):
    return torch.allclose(left, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("model", MODELS)
def test_updates_and_losses_equal_the_sequential_ones(images, build, trained, model, settings):
    arguments = (build(model), images, CLIENTS, SETTINGS[settings], 3, 5)
    rows, losses = trained(Vmapped, *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    assert expected.norm(dim=1).min() > 1e-3


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_the_size_of_a_chunk_changes_nothing(images, build, trained, size):
    arguments = (build("perceptron"), images, CLIENTS, SETTINGS["decay"])
    rows, _ = trained(chunks_of(size), *arguments)
    torch.testing.assert_close(rows, trained(Sequential, *arguments)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        {"clip": None},
        {"weight_decay": 0.0},
        {"momentum": 0.0},
        {"epochs": 1},
        {"lr": 0.11},
        {"batch": 4},
    ],
)
def test_the_comparison_notices_each_setting(images, build, trained, other):
    whole = {"epochs": 2, "batch": 3, "lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "clip": 0.3}
    model = build("perceptron")
    expected, _ = trained(Sequential, model, images, [0, 3], LocalTraining(**whole))
    rows, _ = trained(Vmapped, model, images, [0, 3], LocalTraining(**{**whole, **other}))
    assert not close(rows, expected)


@pytest.mark.parametrize("where", [{"seed": 1}, {"round_index": 1}])
def test_the_comparison_notices_another_order_of_samples(images, build, trained, where):
    arguments = (build("perceptron"), images, [0, 3], SETTINGS["momentum"])
    assert not close(trained(Vmapped, *arguments, **where)[0], trained(Sequential, *arguments)[0])


def test_poisoned_labels_are_changed_like_those_of_one_client_after_the_other(
    images, build, trained
):
    arguments = (build("perceptron"), images, CLIENTS, SETTINGS["decay"])
    rows = {
        way: trained(way, *arguments, relabel=lambda labels: (labels + 1) % 5)[0]
        for way in (Sequential, Vmapped)
    }
    assert close(rows[Vmapped], rows[Sequential])
    assert not close(rows[Vmapped], trained(Sequential, *arguments)[0])


def test_a_frozen_layer_stays_as_it_is(images, build, trained):
    model = build("perceptron")
    model[1].requires_grad_(False)
    arguments = (model, images, CLIENTS, SETTINGS["decay"])
    rows, _ = trained(Vmapped, *arguments)
    assert not rows[:, : 64 * 7 + 7].any()
    assert close(rows, trained(Sequential, *arguments)[0])


def test_a_client_that_diverges_takes_nobody_along(images, build, trained):
    inputs = images.samples.inputs.float() / 255
    inputs[images.clients[3][0]] = float("inf")
    federation = Federation(Samples(inputs, images.samples.targets), images.clients, 5)
    rows, _ = trained(Vmapped, build("perceptron"), federation, CLIENTS, SETTINGS["clipped"])
    finite = rows.isfinite().all(1)
    assert finite.tolist() == [client != 3 for client in CLIENTS]


def test_the_stop_is_asked_for_before_each_chunk(images, build):
    asked = []
    clients = Clients(images, SETTINGS["plain"], between=lambda: asked.append(1))
    model = build("perceptron")
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    rows = torch.empty(6, len(start))
    Vmapped(model, clients, chunk=2).train(CLIENTS, 0, (start, []), rows)
    assert len(asked) == 3


def test_weighted_cross_entropy_equals_torch(images):
    outputs = (10 * torch.randn(3, 4, 5, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(5, (3, 4))
    shares = torch.rand(3, 4, dtype=torch.float64)
    each = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    expected = (each.view(3, 4) * shares).sum(1)
    losses, gradient = cross_entropy(outputs, targets, shares)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), outputs)[0])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), "buffers"),
        (nn.BatchNorm1d(8, track_running_stats=False), "over a batch"),
        (nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), "dropout"),
        (nn.Embedding(4, 8, padding_idx=0), "padding_idx"),
    ],
)
def test_models_that_filling_up_would_change_are_refused(images, model, reason):
    assert reason in obstacle(model)
    with pytest.raises(ValueError, match=reason):
        Vmapped(model, Clients(images, SETTINGS["plain"]))


def test_dropout_by_fixed_masks_trains_side_by_side(images, trained):
    network = bucketing_cnn(5, (1, 8, 8), masks="fixed")
    expected, _ = trained(Sequential, network, images, CLIENTS, SETTINGS["plain"])
    found, _ = trained(Vmapped, network, images, CLIENTS, SETTINGS["plain"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    plain = bucketing_cnn(5, (1, 8, 8), channel_dropout=0.0, dropout=0.0)
    plain.load_state_dict(network.state_dict())
    without, _ = trained(Sequential, plain, images, CLIENTS, SETTINGS["plain"])
    assert not torch.allclose(without, expected, atol=1e-3)


def test_another_loss_is_refused(images, build):
    assert "cross-entropy" in obstacle(build("perceptron"), F.multi_margin_loss)
    assert obstacle(build("perceptron")) == ""


def test_only_plain_chains_count_as_perceptrons(build):
    assert is_perceptron(build("perceptron"))
    assert is_perceptron(build("no_bias"))
    assert not is_perceptron(build("tied"))
    assert not is_perceptron(femnist_cnn(5, (1, 8, 8)))
    assert not is_perceptron(nn.Sequential(nn.Linear(4, 2)))
    hooked = build("perceptron")
    hooked[2].register_forward_hook(lambda *_: None)
    assert not is_perceptron(hooked)
