"""A convolution below a max pooling computes its gradient at the chosen pixels alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from fl_platform.core.native import compiler
from fl_platform.federated.client_training import LocalTraining, pooled_convolution
from fl_platform.federated.client_training.channels_last import ChannelsLast
from fl_platform.federated.client_training.pooled_convolution import (
    PooledConvolution,
    pool_convolutions,
)
from fl_platform.federated.federation import Federation, Samples
from fl_platform.models import bucketing_cnn, cnn_mnist, femnist_cnn

SIZES = [  # channels, side, outputs, kernel, padding
    (32, 9, 8, 3, 0),
    (20, 8, 5, 5, 0),
    (16, 7, 6, 5, 2),
    (33, 6, 3, (1, 3), (0, 1)),
    (11, 8, 4, (3, 3), (1, 0)),
]
POOLS = [nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d((2, 3), ceil_mode=True)]


# Without a compiler torch computes the gradient, and there is no kernel to compare.
needs_compiler = pytest.mark.skipif(not compiler.enabled(), reason="no C++ compiler here")


@pytest.fixture(autouse=True)
def small_layers(monkeypatch):
    """Small layers use the kernel too."""
    monkeypatch.setattr(pooled_convolution, "LEAST_WORK", 0)


@pytest.fixture
def used(monkeypatch):
    """The layers whose gradient the kernel computed."""
    found, library = [], compiler.library

    def counted(text, contraction, **options):
        if "chosen" in text:
            found.append(text)
        return library(text, contraction, **options)

    monkeypatch.setattr(compiler, "library", counted)
    return found


@pytest.fixture
def mnist_like():
    """Two clients with 28 x 28 images of noise."""
    torch.manual_seed(4)
    samples = Samples(torch.randn(13, 1, 28, 28), torch.randint(0, 5, (13,)))
    return Federation(samples, torch.arange(13).split([8, 5]), 5)


def chain(size, pool, between=(), bias=True):
    channels, _, outputs, kernel, padding = size
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, outputs, kernel, padding=padding, bias=bias), *between, pool]
    plain = nn.Sequential(*layers)
    changed = copy.deepcopy(plain)
    pool_convolutions(changed)
    assert steps_of(changed)
    return plain, changed


def steps_of(model):
    """The `PooledConvolution` among the steps of a chain."""
    forward = vars(model).get("forward")
    steps = forward.args[0] if forward else []
    return [step for step in steps if isinstance(step, PooledConvolution)]


def gradients(model, images, wanted):
    images = images.clone().requires_grad_()
    outputs = model(images)
    found = torch.autograd.grad(outputs, [images, *model.parameters()], wanted(outputs))
    return outputs.detach(), found


@needs_compiler
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("between", [[], [nn.ReLU()], [nn.Identity()]], ids=["", "relu", "nothing"])
def test_outputs_are_those_of_the_layers_and_gradients_too(size, pool, between, used):
    images = torch.randn(3, size[0], size[1], size[1] + 1)
    plain, changed = chain(size, pool, between, bias=not between)
    assert [n for n, _ in changed.named_parameters()] == [n for n, _ in plain.named_parameters()]

    def wanted(outputs):  # of dropped channels it is 0
        torch.manual_seed(1)
        return torch.randn_like(outputs) * (torch.rand(*outputs.shape[:2], 1, 1) > 0.3)

    outputs, found = gradients(changed, images, wanted)
    expected, theirs = gradients(plain, images, wanted)
    assert used
    assert torch.equal(outputs, expected)
    for mine, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_images_in_either_memory_order_give_the_same():
    images = torch.randn(2, 32, 9, 9)
    _, changed = chain(SIZES[0], nn.MaxPool2d(2))
    one, two = (
        gradients(changed, images.contiguous(memory_format=order), torch.ones_like)[1]
        for order in (torch.contiguous_format, torch.channels_last)
    )
    for mine, other in zip(one, two, strict=True):
        torch.testing.assert_close(mine, other)


@needs_compiler
@pytest.mark.parametrize("network", [bucketing_cnn, cnn_mnist, femnist_cnn])
def test_updates_are_those_of_the_layers(network, used, monkeypatch, mnist_like, trained):
    options = {"masks": "fixed"} if network is bucketing_cnn else {}
    torch.manual_seed(3)
    model = network(5, (1, 28, 28), **options)
    arguments = (model, mnist_like, [1, 0], LocalTraining(epochs=1, batch=4, lr=0.05), 0, 7)
    rows, losses = trained(ChannelsLast, *arguments)
    assert used
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")
    expected, expected_losses = trained(ChannelsLast, *arguments)
    assert not torch.equal(rows, expected)  # sums in another order
    torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses, expected_losses)


def changed_kinds(*layers):
    model = nn.Sequential(*layers)
    pool_convolutions(model)
    return bool(steps_of(model))


def test_other_layers_stay_as_they_are():
    convolution, pool = nn.Conv2d(32, 8, 3), nn.MaxPool2d(2)
    assert changed_kinds(copy.deepcopy(convolution), pool)
    assert not changed_kinds(nn.Conv2d(32, 8, 3, stride=2), pool)
    assert not changed_kinds(nn.Conv2d(32, 8, 3, dilation=2), pool)
    assert not changed_kinds(nn.Conv2d(32, 8, 3, groups=2), pool)
    assert not changed_kinds(nn.Conv2d(128, 8, 3), pool)  # gains nothing
    assert not changed_kinds(convolution, nn.MaxPool2d(2, dilation=2))
    assert not changed_kinds(convolution, nn.MaxPool2d(2, return_indices=True))
    assert changed_kinds(convolution, nn.MaxPool2d((2,), (2,)))
    assert not changed_kinds(nn.Conv2d(32, 8, 3, padding="same"), pool)
    assert not changed_kinds(nn.Conv2d(32, 8, 3, padding=1, padding_mode="reflect"), pool)
    assert not changed_kinds(nn.Conv2d(1, 8, 3), pool)  # its images have no gradient
    assert not changed_kinds(convolution, nn.MaxPool2d(2, stride=1))
    assert not changed_kinds(convolution, nn.MaxPool2d(2, padding=1))
    assert not changed_kinds(convolution, nn.AvgPool2d(2))
    assert not changed_kinds(convolution, nn.BatchNorm2d(8), pool)
    assert not changed_kinds(convolution, nn.ReLU(), nn.ReLU(), pool)
    assert not changed_kinds(convolution, nn.ReLU())
    assert not changed_kinds(convolution)
    reparametrized = parametrize.register_parametrization(
        copy.deepcopy(convolution), "weight", nn.Identity()
    )
    assert not changed_kinds(reparametrized, pool)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.register_forward_hook(lambda *_: None),
        lambda layer: layer.register_forward_pre_hook(lambda *_: None),
        lambda layer: layer.register_full_backward_hook(lambda *_: None),
        lambda layer: layer.register_full_backward_pre_hook(lambda *_: None),
        lambda layer: setattr(layer, "forward", layer.forward),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_layers_with_hooks_or_a_call_of_their_own_are_called(change, place):
    layers = [nn.Conv2d(32, 8, 3), nn.Identity(), nn.ReLU(), nn.MaxPool2d(2)]
    change(layers[place])
    assert not changed_kinds(*layers)


def test_a_chain_with_a_call_of_its_own_keeps_it():
    model = nn.Sequential(nn.Conv2d(32, 8, 3), nn.MaxPool2d(2))
    model.forward = torch.sum
    pool_convolutions(model)
    assert model.forward is torch.sum


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 0.0])
def test_the_relu_stops_what_it_stops_in_torch(value):
    plain, changed = chain(SIZES[0], nn.MaxPool2d(2), [nn.ReLU()])
    images = torch.randn(2, 32, 9, 9)

    def wanted(outputs):
        return torch.full_like(outputs, value)

    outputs, found = gradients(changed, images, wanted)
    expected, theirs = gradients(plain, images, wanted)
    assert torch.equal(outputs, expected)
    assert torch.equal(found[-1].isnan(), theirs[-1].isnan())  # of the bias: no 0 x NaN


@needs_compiler
def test_outputs_can_be_changed_in_place_and_images_come_alone_or_by_name(used):
    plain, changed = chain(SIZES[0], nn.MaxPool2d(2), [nn.ReLU()])
    images = torch.randn(2, 32, 9, 9).requires_grad_()
    changed(images).mul_(2).sum().backward()
    assert used
    assert torch.equal(changed(images[0]), plain(images[0]))
    assert torch.equal(changed(input=images), plain(images))
    assert torch.func.grad(lambda x: changed(x).sum())(images.detach()).shape == images.shape


def test_the_gradient_is_that_of_the_forward_pass_without_a_second_look(monkeypatch):
    _, changed = chain(SIZES[0], nn.MaxPool2d(2))
    outputs = changed(torch.randn(2, 32, 9, 9).requires_grad_())
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")
    outputs.sum().backward()


@needs_compiler
def test_other_numbers_and_several_threads_use_the_layers(used):
    _, changed = chain(SIZES[0], nn.MaxPool2d(2))
    images = torch.randn(2, 32, 9, 9)
    gradients(copy.deepcopy(changed).double(), images.double(), torch.ones_like)
    with torch.autocast("cpu", torch.bfloat16):
        gradients(changed, images, torch.ones_like)
    with torch.no_grad():
        changed(images)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        gradients(changed, images, torch.ones_like)
    finally:
        torch.set_num_threads(threads)
    assert not used
    gradients(changed, images, torch.ones_like)
    assert used


def test_layers_that_are_called_alone_stay_as_they_are(used):
    plain, changed = chain(SIZES[0], nn.MaxPool2d(2), [nn.ReLU()])
    images = torch.randn(2, 32, 9, 9).requires_grad_()
    for mine, other in zip(changed, plain, strict=True):
        assert torch.equal(mine(images), other(images))
    assert not used


@needs_compiler
def test_one_convolution_in_two_places_and_chains_in_chains(used):
    shared, images = nn.Conv2d(32, 32, 3, padding=1), torch.randn(2, 32, 8, 8)
    half = nn.Sequential(shared, nn.ReLU(), nn.MaxPool2d(2))
    plain = nn.Sequential(half, nn.Sequential(nn.Identity(), shared, nn.MaxPool2d(2)), nn.Flatten())
    changed = copy.deepcopy(plain)
    pool_convolutions(changed)
    again = copy.deepcopy(changed)  # its steps are those of the copy
    with torch.no_grad():
        changed[0][0].weight.mul_(2.0)
    _, found = gradients(again, images, torch.ones_like)
    _, expected = gradients(plain, images, torch.ones_like)
    assert len(used) == 2
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@needs_compiler
def test_weights_that_do_not_train(used):
    plain, changed = chain(SIZES[0], nn.MaxPool2d(2))
    images = torch.randn(2, 32, 9, 9)
    found = []
    for model in (plain, changed):
        model.requires_grad_(False)
        inputs = images.clone().requires_grad_()
        found.append(torch.autograd.grad(model(inputs).sum(), inputs)[0])
    assert used
    torch.testing.assert_close(*found)


@needs_compiler
def test_small_batches_never_use_the_kernel_though_it_lies_ready(used, monkeypatch):
    _, changed = chain(SIZES[0], nn.MaxPool2d(2))
    images = torch.randn(2, 32, 9, 9)
    gradients(changed, images, torch.ones_like)
    assert used
    used.clear()
    monkeypatch.setattr(pooled_convolution, "LEAST_WORK", 2 * 7 * 7 * changed[0].weight.numel() + 1)
    gradients(changed, images, torch.ones_like)
    assert not used
    gradients(changed, images.repeat(2, 1, 1, 1), torch.ones_like)
    assert used
