import torch

from fl_platform.models import mlp, num_parameters


def test_the_digits_network_has_4810_parameters():
    model = mlp(10, (1, 8, 8))
    assert num_parameters(model) == 4810
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_hidden_sets_the_width():
    assert num_parameters(mlp(3, (2, 4, 4), hidden=5)) == 32 * 5 + 5 + 5 * 3 + 3
