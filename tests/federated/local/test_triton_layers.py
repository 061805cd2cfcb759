"""Kernels between the products of a stack under Triton's interpreter, against torch."""

import importlib
import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fl_platform.core import generator
from fl_platform.federated.client_training import (
    Clients,
    LocalTraining,
    stacked_kernels,
    stacked_training,
)
from fl_platform.federated.client_training.stacked_convolution import (
    Axis,
    BandedPatches,
    Bands,
    Patches,
)
from fl_platform.federated.client_training.stacked_layers import Slot
from fl_platform.federated.federation import Federation, Samples

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from fl_platform.federated.client_training import triton_layers

    yield importlib.reload(triton_layers)
    monkeypatch.undo()
    importlib.reload(triton_layers)


# The interpreter cuts numbers off where a device rounds them to bfloat16.
WITHIN = {torch.float32: 0.0, torch.bfloat16: 2.0**-7}
AXES = {
    "3 over 2": Axis(2, 3, 1, 1, 1),
    "5 over 4": Axis(4, 5, 1, 2, 1),
    "stride": Axis(12, 7, 4, 3, 1),
    "dilation": Axis(6, 3, 1, 2, 2),
    "taps that reach nothing": Axis(1, 5, 1, 2, 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", AXES)
def test_weights_are_spread_and_collected_as_by_torch(kernels, name, dtype):
    columns, draws = AXES[name], generator(0, "spread")
    outputs, inputs = 24, 50  # 1200 cells: one program and a part
    slot = Slot(slice(0, 0), (outputs, inputs, 2, columns.kernel), (2, 3, 1, 0), True, 16)
    layer = Bands(slot, Axis(3, 2, 1, 0, 1), columns)
    layer.prepare(4, torch.device("cpu"), dtype)
    stack = torch.randn(3, slot.size + 32, generator=draws)
    expected = layer._spread(stack).clone()
    found = torch.zeros_like(layer._dense)[:3]
    steps, stride = layer.steps_table(torch.device("cpu")), columns.stride
    kernels.spread(slot.of(stack), found, steps, stride)
    torch.testing.assert_close(found, expected, rtol=WITHIN[dtype], atol=0)
    dense = torch.randn(3, *layer._shape, generator=draws).to(dtype)
    gradients = [torch.full_like(stack, torch.nan) for _ in "ab"]
    layer._collect(dense, gradients[0])
    kernels.collect(dense, slot.of(gradients[1]), steps, stride)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert gradients[1].isnan().sum() == 3 * 32


POOLS = [  # window, size, biased, relu, partial windows too
    ((1, 1), (3, 5), True, True, False),
    ((1, 1), (3, 5), True, False, False),
    ((2, 2), (4, 4), True, True, False),
    ((2, 2), (5, 7), True, True, True),
    ((2, 2), (5, 7), False, True, False),
    ((3, 2), (3, 4), True, False, True),
    ((3, 3), (7, 8), False, True, True),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("window", "size", "biased", "relu", "ceil"), POOLS)
def test_pool_bias_and_relu_as_by_torch(kernels, window, size, biased, relu, dtype, ceil):
    draws, channels, batch = generator(0, "activate"), 130, 3
    x = torch.randn(2, batch, *size, channels, generator=draws).mul(2).round().to(dtype)  # ties
    x[0, 0, 0, 0, 0] = x[1, 2, -1, -1, -1] = float("nan")
    biases = torch.randn(2, channels + 7, generator=draws)[:, 3 : channels + 3].to(dtype).float()
    leaf = x.clone().requires_grad_()
    shift = biases.clone().requires_grad_()
    pooled = F.max_pool2d(leaf.flatten(0, 1).permute(0, 3, 1, 2), window, ceil_mode=ceil)
    expected = pooled.permute(0, 2, 3, 1).unflatten(0, (2, batch)).float()
    expected = expected + shift[:, None, None, None] if biased else expected
    expected = (expected.relu() if relu else expected).to(dtype)
    y, places = kernels.activate(
        x.clone(), biases if biased else None, relu, window, expected.shape[2:4]
    )
    torch.testing.assert_close(y, expected.detach(), equal_nan=True, rtol=WITHIN[dtype], atol=0)
    dy = torch.randn(y.shape, generator=draws).to(dtype)
    expected.backward(dy)
    into = torch.full((2, channels + 9), torch.nan)
    where = into[:, 5 : channels + 5] if biased else None
    dx = kernels.activate_back(dy.clone(), (y, places), where, relu, window, size)
    torch.testing.assert_close(dx, leaf.grad, rtol=0, atol=0)
    if biased:
        torch.testing.assert_close(where, shift.grad, rtol=1e-4, atol=1e-4)
        assert into.isnan().sum() == 2 * 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_are_read_and_normalised(kernels, dtype):
    draws = generator(0, "read")
    images = torch.randint(256, (20, 21, 19, 3), generator=draws, dtype=torch.uint8)
    plan = torch.randint(20, (4, 7), generator=draws, dtype=torch.int32)
    index = plan[:3, :]
    scale, shift = (torch.randn(3, generator=draws) for _ in "ab")
    found = kernels.read(images, index, scale, shift, dtype)
    expected = torch.addcmul(shift, images[index.long()].float(), scale).to(dtype)
    torch.testing.assert_close(found, expected, rtol=1e-6 + WITHIN[dtype], atol=1e-6)


@pytest.mark.parametrize("name", AXES)
def test_windows_are_copied_as_by_torch(kernels, name):
    rows, columns = Axis(7, 3, 2, 1, 1), AXES[name]
    slot = Slot(slice(0, 0), (2, 5, 3, columns.kernel), (2, 3, 1, 0), True)
    layer = Patches(slot, rows, columns)
    x = torch.randn(2, 3, 7, columns.size, 5, generator=generator(0, "windows"))
    assert torch.equal(kernels.windows(x, rows, columns), layer._copies(x))


def network():
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 4, 3, padding=1, bias=False), nn.ReLU(),
            nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 5),
        )  # fmt: skip


@pytest.mark.parametrize("kind", [Bands, BandedPatches, Patches])
def test_a_network_trains_by_kernels_as_by_torch(kernels, monkeypatch, kind):
    """Seven unequal clients, each convolution of that kind."""
    for other in {Bands, BandedPatches, Patches} - {kind}:
        monkeypatch.setattr(other, "cost", lambda *_: float("inf"))
    draws, sizes = generator(0, "kernels"), [5, 2, 1, 4]
    inputs = torch.randint(256, (12, 3, 6, 6), generator=draws, dtype=torch.uint8)
    targets = torch.randint(5, (12,), generator=draws)
    samples = Samples(inputs, targets, (0.5,) * 3, (0.25,) * 3)
    federation = Federation(samples, torch.arange(12).split(sizes), 5)
    settings, model = LocalTraining(batch=3, lr=0.1, momentum=0.9, clip=1.0), network()
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    found = []
    for module in (None, kernels):
        monkeypatch.setattr(stacked_kernels, "kernels", lambda _, module=module: module)
        monkeypatch.setattr(stacked_training, "kernels", lambda _, module=module: module)
        rows = torch.full((4, len(start)), torch.nan)
        way = stacked_training.Stacked(model, Clients(federation, settings), bucket=4)
        way.train([0, 1, 2, 3], 0, (start, []), rows)
        found.append(rows)
    assert (found[0] - found[1]).norm() < 1e-5 * found[0].norm()
