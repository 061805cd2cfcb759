"""The work of an image is that of the layers' shapes."""

import pytest
import torch
from torch import nn

from fl_platform.models import mlp, small_alexnet
from fl_platform.models.size import flops_per_image


def test_the_work_of_a_perceptron_is_that_of_its_products():
    forward, training = flops_per_image(mlp(10, (1, 8, 8), hidden=64), (1, 8, 8))
    first, second = 2 * 64 * 64, 2 * 64 * 10
    assert forward == first + second
    assert training == 2 * first + 3 * second  # no gradient of the images


def test_the_work_of_the_paper_s_alexnet():
    sizes = ((8, 3, 11, 64), (4, 64, 5, 192), (2, 192, 3, 384), (2, 384, 3, 256), (2, 256, 3, 256))
    layers = [2 * side**2 * taken * kernel**2 * made for side, taken, kernel, made in sizes]
    model = small_alexnet(10, (3, 32, 32))
    forward, training = flops_per_image(model, (3, 32, 32))
    assert forward == sum(layers) + 2 * 256 * 10
    assert training == 3 * forward - layers[0]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_normalisation_and_buffers_are_left_as_they_were():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert flops_per_image(model, (1, 8, 8))[0] == pytest.approx(2 * 36 * 9 * 4 + 2 * 144 * 2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
