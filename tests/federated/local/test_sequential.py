"""Local training against torch's own optimizer, and what must not leak between clients."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from fl_platform.core import generator
from fl_platform.federated.client_training import Clients, LocalTraining
from fl_platform.federated.client_training.batches import batches, stream
from fl_platform.federated.client_training.sequential import Sequential

SETTINGS = {
    "plain": LocalTraining(batch=4, lr=0.1, momentum=0.0, clip=None),
    "momentum": LocalTraining(epochs=3, batch=4, lr=0.1, momentum=0.9, clip=None),
    "clipped": LocalTraining(epochs=2, batch=4, lr=0.5, momentum=0.9, clip=0.05),
    "decay": LocalTraining(epochs=2, batch=3, lr=0.1, momentum=0.5, weight_decay=0.1, clip=0.3),
}


def reference(model, federation, client, settings, seed, round_index):
    """A client's model trained by torch.optim.SGD and clip_grad_norm_, parameter by parameter."""
    twin = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(
        twin.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
    )
    stream = generator(seed, "batches", round_index, client)
    for _ in range(settings.epochs):
        index = federation.clients[client]
        order = index[torch.randperm(len(index), generator=stream)]
        for batch in order.split(settings.batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(
                twin(federation.samples.inputs[batch]), federation.samples.targets[batch]
            )
            loss.backward()
            if settings.clip is not None:
                clip_grad_norm_(twin.parameters(), settings.clip)
            optimizer.step()
    return twin


def change(before, after):
    """Tensors of one model less those of another, as one vector."""
    pairs = zip(before, after, strict=True)
    return torch.cat([(one - other).reshape(-1) for one, other in pairs]).detach()


def reference_update(model, *arguments):
    return change(model.parameters(), reference(model, *arguments).parameters())


@pytest.fixture
def updates(trained):
    def rows(*arguments, **more):
        return trained(Sequential, *arguments, **more)[0]

    return rows


@pytest.mark.parametrize("name", SETTINGS)
def test_updates_equal_those_of_torch_optim(federation, network, name, updates):
    model, clients = network(), [0, 4, 2, 11]
    rows = updates(model, federation, clients, SETTINGS[name], seed=3, round_index=5)
    for row, client in zip(rows, clients, strict=True):
        expected = reference_update(model, federation, client, SETTINGS[name], 3, 5)
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_batch_normalisation_equals_that_of_torch_with_its_statistics(federation, network, name):
    model, clients = network(norm=True), [2, 3, 4, 11]  # no batch of one, which has no variance
    parameters = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    rows, buffers = torch.empty(4, len(parameters)), torch.empty(4, 17, dtype=torch.float64)
    way = Sequential(model, Clients(federation, SETTINGS[name], seed=3))
    way.train(clients, 5, (parameters, list(model.buffers())), rows, buffers)
    for row, statistics, client in zip(rows, buffers, clients, strict=True):
        twin = reference(model, federation, client, SETTINGS[name], 3, 5)
        expected = change(model.parameters(), twin.parameters())
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)
        moved = change(model.buffers(), twin.buffers()).double()
        torch.testing.assert_close(statistics, moved, rtol=1e-5, atol=1e-6)
        assert moved.abs().min() > 0


def test_the_comparison_notices_a_missing_clip(federation, network, updates):
    model = network()
    row = updates(model, federation, [0], SETTINGS["clipped"])[0]
    unclipped = LocalTraining(epochs=2, batch=4, lr=0.5, momentum=0.9, clip=None)
    expected = reference_update(model, federation, 0, unclipped, 0, 0)
    assert not torch.allclose(row, expected, rtol=1e-2)


def test_no_client_trains_on_what_another_left_behind(federation, network, updates):
    model = network(norm=True)
    settings = SETTINGS["decay"]
    together = updates(model, federation, [3, 5, 7], settings)
    alone = torch.cat([updates(model, federation, [client], settings) for client in (3, 5, 7)])
    assert torch.equal(together, alone)


def test_the_server_model_stays_as_it_is(federation, network, updates):
    model = network(norm=True)
    before = copy.deepcopy(model.state_dict())
    updates(model, federation, [0, 1], SETTINGS["momentum"])
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_last_batch_of_one_joins_its_neighbour_only_for_batch_norm():
    index, settings = torch.arange(9), LocalTraining(batch=4)
    for merge, sizes in ((True, [4, 5]), (False, [4, 4, 1])):
        drawn = batches(index, settings, stream(0, 0, 0), merge, index.device)
        assert [len(batch) for batch in drawn] == sizes


def test_flipped_labels_change_the_update(federation, network, updates):
    model, settings = network(), SETTINGS["plain"]
    honest = updates(model, federation, [1], settings)
    flipped = updates(model, federation, [1], settings, relabel=lambda labels: 2 - labels)
    assert not torch.allclose(honest, flipped)


def test_a_frozen_layer_stays_as_it_is_even_under_decay(federation, network, updates):
    model = network()
    model[0].requires_grad_(False)
    rows = updates(model, federation, [0, 3], SETTINGS["decay"])
    frozen = sum(p.numel() for p in model[0].parameters())
    assert not rows[:, :frozen].any()
    assert rows[:, frozen:].all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"clip": 0.0},
        {"weight_decay": -1.0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        LocalTraining(**wrong)
