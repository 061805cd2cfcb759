import pytest
import torch

from fl_platform.core import generator
from fl_platform.federated.federation import Federation, Samples


@pytest.fixture
def federation():
    """Twelve clients of unequal size with 4-dimensional inputs of three classes."""
    stream = generator(0, "test-federation")
    sizes = [5, 9, 3, 8, 6, 7, 4, 10, 5, 6, 9, 8]
    centres = 2 * torch.randn(3, 4, generator=stream)
    targets = torch.randint(3, (sum(sizes),), generator=stream)
    inputs = centres[targets] + torch.randn(sum(sizes), 4, generator=stream)
    return Federation(Samples(inputs, targets), torch.arange(sum(sizes)).split(sizes), 3)


@pytest.fixture
def network():
    """Build a small network from its own stream, whatever the global generator holds."""

    def build(norm=False, seed=0):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            middle = [torch.nn.BatchNorm1d(8)] if norm else []
            return torch.nn.Sequential(
                torch.nn.Linear(4, 8), *middle, torch.nn.ReLU(), torch.nn.Linear(8, 3)
            )

    return build
