"""Sizes are counted by hand from the layers that the paper's authors publish."""

import pytest
import torch
from torch import nn

from fl_platform.models import femnist_cnn, mlp, num_parameters, resnet18, small_alexnet


@pytest.mark.parametrize(
    ("model", "classes", "image_shape", "size"),
    [
        (small_alexnet, 10, (3, 32, 32), 2_472_266),
        (femnist_cnn, 62, (1, 28, 28), 848_382),
        (resnet18, 12, (3, 64, 64), 11_182_668),
        (mlp, 10, (1, 8, 8), 4_810),
    ],
)
def test_size_and_output(model, classes, image_shape, size):
    network = model(classes, image_shape)
    assert num_parameters(network) == size
    assert network(torch.zeros(2, *image_shape)).shape == (2, classes)
    assert not [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]


def test_other_image_sizes_are_served():
    assert small_alexnet(5, (1, 29, 70))(torch.zeros(1, 1, 29, 70)).shape == (1, 5)
    assert femnist_cnn(5, (3, 4, 33))(torch.zeros(1, 3, 4, 33)).shape == (1, 5)


def test_group_norm_has_the_same_size_and_no_buffers():
    group, batch = (resnet18(12, (3, 64, 64), norm=norm) for norm in ("group", "batch"))
    assert num_parameters(group) == num_parameters(batch) == 11_182_668
    assert sum(buffer.numel() for buffer in group.buffers()) == 0
    assert sum(buffer.numel() for buffer in batch.buffers()) == 9_620
    assert group(torch.zeros(1, 3, 64, 64)).shape == (1, 12)


def test_frozen_weights_are_not_counted():
    network = mlp(10, (1, 8, 8))
    next(network.parameters()).requires_grad_(False)
    assert num_parameters(network) == 4_810 - 64 * 64


@pytest.mark.parametrize(
    ("model", "image_shape", "message"),
    [
        (small_alexnet, (3, 28, 32), "at least 29 x 29"),
        (femnist_cnn, (1, 3, 28), "at least 4 x 4"),
        (resnet18, (1, 28, 28), "3 channels, got 1"),
    ],
)
def test_images_that_a_network_cannot_serve_are_refused(model, image_shape, message):
    with pytest.raises(ValueError, match=message):
        model(10, image_shape)
