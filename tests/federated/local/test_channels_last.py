"""Another memory layout must not change what is computed."""

import pytest
import torch
from torch import nn

from fl_platform.federated.client_training import Clients, LocalTraining
from fl_platform.federated.client_training.channels_last import ChannelsLast, pays
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.models import femnist_cnn, mlp, resnet18, small_alexnet

DECAY = LocalTraining(epochs=2, batch=3, lr=0.05, momentum=0.5, weight_decay=0.1, clip=0.3)


@pytest.fixture
def network():
    def build(norm):
        with torch.random.fork_rng([]):
            torch.manual_seed(2)
            return nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1, bias=False), norm, nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5),
            )  # fmt: skip

    return build


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 6), nn.BatchNorm2d(6)], ids=["group", "batch"])
def test_updates_equal_the_sequential_ones_in_their_order(images, network, trained, norm):
    arguments = (network(norm), images, [3, 0, 4, 1], DECAY, 3, 5)
    rows, losses = trained(ChannelsLast, *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    weight = slice(54 + 12, 54 + 12 + 4 * 6 * 9)
    turned = rows[:, weight].view(4, 4, 6, 3, 3).permute(0, 1, 3, 4, 2).flatten(1)
    assert not torch.allclose(turned, expected[:, weight], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("last", [nn.MaxPool2d(2), nn.Dropout2d(0.0)], ids=["pool", "dropout"])
def test_the_gradient_of_a_map_keeps_its_memory_order_below_flatten(images, last):
    apart = []

    class Told(nn.Module):
        """Notes how far apart the channels of the gradient lie that it passes on."""

        def forward(self, values):
            if values.requires_grad:
                values.register_hook(lambda g: apart.append(g.stride(1)))
            return values * 1.0

    head = [nn.Flatten(), nn.LazyLinear(5)]
    model = nn.Sequential(nn.Conv2d(1, 6, 3), last, Told(), *head)
    model(images.samples.read(slice(0, 1))[0])
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    trainer = ChannelsLast(model, Clients(images, DECAY))
    trainer.train([0], 0, (start, []), torch.empty(1, len(start)))
    assert set(apart) == {1}


def test_a_flatten_that_is_called_by_keyword_trains_all_the_same(images):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten = nn.Flatten()

        def forward(self, values):
            return self.flatten(input=values)

    model = nn.Sequential(nn.Conv2d(1, 6, 3), Head(), nn.LazyLinear(5))
    model(images.samples.read(slice(0, 1))[0])
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    row = torch.zeros(1, len(start))
    ChannelsLast(model, Clients(images, DECAY)).train([0], 0, (start, []), row)
    assert row.isfinite().all()
    assert row.any()


def test_running_statistics_follow(images, network):
    model = network(nn.BatchNorm2d(6))
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    changes = []
    for way in (Sequential, ChannelsLast):
        rows, buffers = torch.empty(2, len(start)), torch.empty(2, 13, dtype=torch.float64)
        trainer = way(model, Clients(images, DECAY))
        trainer.train([0, 3], 0, (start, list(model.buffers())), rows, buffers)
        changes.append(buffers)
    torch.testing.assert_close(changes[0], changes[1], rtol=1e-4, atol=1e-5)
    assert changes[0].abs().sum() > 1


@pytest.mark.parametrize(
    ("model", "shape", "capabilities"),
    [
        (femnist_cnn(62, (1, 28, 28)), (1, 28, 28), {"AVX2", "AVX512", "DEFAULT"}),
        (resnet18(12, (3, 224, 224)), (3, 224, 224), {"AVX2", "AVX512", "DEFAULT"}),
        (small_alexnet(10, (3, 32, 32)), (3, 32, 32), {"AVX2"}),
        (mlp(10, (1, 8, 8)), (1, 8, 8), set()),
    ],
    ids=["femnist_cnn", "resnet18", "small_alexnet", "mlp"],
)
def test_it_pays_where_all_maps_are_large_and_over_small_ones_with_avx2(model, shape, capabilities):
    known = {"AVX2", "AVX512", "DEFAULT"}
    assert {capability for capability in known if pays(model, shape, capability)} == capabilities
