"""A client's only step: the gradient itself is the update, and equals the step that moves."""

import pytest
import torch

from fl_platform.federated import Federation, LocalTraining, Samples
from fl_platform.federated.client_training import Clients, build_way
from fl_platform.federated.client_training.sequential import Sequential


def network(frozen):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        chain = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
        )
    if frozen:
        chain[0].bias.requires_grad_(False)
    return chain


@pytest.mark.parametrize("way", ["sequential", "channels_last"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{"lr": 1.0}, {"lr": 0.3, "momentum": 0.9}, {"clip": 0.01}, {"weight_decay": 0.1, "clip": 0.5}],
)
def test_the_gradient_is_the_update_of_a_step_that_moves(monkeypatch, way, frozen, settings):
    draws = torch.Generator().manual_seed(0)
    inputs = torch.rand(40, 1, 8, 8, generator=draws)
    targets = torch.randint(3, (40,), generator=draws)
    federation = Federation(Samples(inputs, targets), torch.arange(40).split([9, 20, 11]), 3)
    given = {"momentum": 0.0, "clip": None} | settings
    clients = Clients(federation, LocalTraining(batch=8, steps=1, **given))
    model = network(frozen)
    start = (torch.cat([p.detach().flatten() for p in model.parameters()]), [])
    found, expected = (torch.full((3, len(start[0])), torch.nan) for _ in range(2))
    losses = build_way(way, model, clients).train(range(3), 5, start, found)
    monkeypatch.setattr(Sequential, "moves", True)
    same = build_way(way, model, clients).train(range(3), 5, start, expected)
    torch.testing.assert_close(losses, same)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert expected.abs().max() > 1e-4
    if frozen:
        assert not found[:, 36:40].any()
