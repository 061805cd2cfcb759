"""The work of an image is that of the layers' shapes."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fl_platform.models import mlp, resnet18, small_alexnet
from fl_platform.models.size import work_per_image


def test_the_work_of_a_perceptron_is_that_of_its_products():
    work = work_per_image(mlp(10, (1, 8, 8), hidden=64), (1, 8, 8))
    first, second = 2 * 64 * 64, 2 * 64 * 10
    assert work.forward == first + second
    assert work.training == 2 * first + 3 * second  # no gradient of the images


def test_the_work_of_the_paper_s_alexnet():
    sizes = ((8, 3, 11, 64), (4, 64, 5, 192), (2, 192, 3, 384), (2, 384, 3, 256), (2, 256, 3, 256))
    layers = [2 * side**2 * taken * kernel**2 * made for side, taken, kernel, made in sizes]
    model = small_alexnet(10, (3, 32, 32))
    work = work_per_image(model, (3, 32, 32))
    assert work.forward == sum(layers) + 2 * 256 * 10
    assert work.training == 3 * work.forward - layers[0]
    assert work.largest == 64 * 8 * 8
    assert all(parameter.grad is None for parameter in model.parameters())


def test_normalisation_and_buffers_are_left_as_they_were():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert work_per_image(model, (1, 8, 8)).forward == 2 * 36 * 9 * 4 + 2 * 144 * 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_torch_s_own_counter_agrees_on_residual_blocks():
    model = resnet18(12, (3, 64, 64))
    with FlopCounterMode(display=False) as counter:
        model.train()(torch.zeros(2, 3, 64, 64)).sum().backward()
    assert work_per_image(model, (3, 64, 64)).training == counter.get_total_flops() / 2


def test_values_that_leave_layers_and_unfolded_inputs():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    work = work_per_image(model, (1, 8, 8))
    assert work.activations == 144 + 144 + 144 + 2
    assert work.unfolded == 36 * 9
