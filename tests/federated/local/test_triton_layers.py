"""Kernels between the products of a stack under Triton's interpreter, against torch."""

import importlib
import importlib.util

import pytest
import torch
from torch.nn import functional as F

from fl_platform.core import generator
from fl_platform.federated.client_training.stacked_convolution import Axis, Bands
from fl_platform.federated.client_training.stacked_layers import Slot

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton"
)


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


WINDOWS = [((1, 1), (3, 5)), ((2, 2), (4, 4)), ((2, 2), (5, 7)), ((3, 2), (3, 4)), ((3, 3), (7, 8))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("window", "size"), WINDOWS)
@pytest.mark.parametrize("ceil", [False, True])
def test_pool_bias_and_relu_as_by_torch(kernels, window, size, biased, relu, dtype, ceil):
    draws, channels, batch = generator(0, "activate"), 130, 6
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
