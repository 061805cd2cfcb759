import pytest
import torch

from fl_platform.core import generator
from fl_platform.federated.client_training import Clients
from fl_platform.federated.federation import Federation, Samples


@pytest.fixture
def images():
    """Seven clients of unequal size (one of them a single sample) with 8 x 8 uint8 images."""
    stream = generator(0, "test-images")
    sizes = [9, 4, 1, 12, 8, 5, 3]
    inputs = torch.randint(256, (sum(sizes), 1, 8, 8), generator=stream, dtype=torch.uint8)
    targets = torch.randint(5, (sum(sizes),), generator=stream)
    samples = Samples(inputs, targets, (0.5,), (0.25,))
    return Federation(samples, torch.arange(sum(sizes)).split(sizes), 5)


@pytest.fixture
def trained():
    """Updates and losses of some clients by a way of training."""

    def train(way, model, federation, clients, settings, seed=0, round_index=0, relabel=None):
        parameters = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        rows = torch.full((len(clients), len(parameters)), float("nan"), dtype=parameters.dtype)
        start = (parameters, list(model.buffers()))
        trainer = way(model, Clients(federation, settings, seed))
        losses = trainer.train(clients, round_index, start, rows, relabel=relabel)
        return rows, losses

    return train
