"""The loop that ours is timed against does the same work: the same updates, attack and defense."""

import torch

from benchmarks import authors_loop
from benchmarks.authors_loop import AuthorsLoop
from fl_platform.attacks import strike
from fl_platform.core import Updates, generator
from fl_platform.defenses import multi_krum
from fl_platform.federated import Federation, Samples
from fl_platform.federated.client_training import Clients, LocalTraining, build_way
from fl_platform.models import mlp


def test_a_client_trained_by_it_has_our_update_negated():
    draws = generator(0, "test")
    samples = Samples(torch.randn(60, 1, 8, 8, generator=draws), torch.arange(60) % 10)
    federation = Federation(samples, tuple(torch.arange(60).split([20, 12, 15, 13])), 10)
    local = LocalTraining(1, 8, 0.1, 0.9, 1e-4, 2.0)
    torch.manual_seed(0)
    model = mlp(10, (1, 8, 8))
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    rows = torch.empty(4, len(start))
    build_way("sequential", model, Clients(federation, local)).train(range(4), 0, (start, []), rows)

    def order(client, own):
        draws = generator(0, "batches", 0, client)
        return own[torch.randperm(len(own), generator=draws)]

    pair = samples.inputs, samples.targets
    loop = AuthorsLoop(model, pair, federation.clients, local, 1, pair, order)
    theirs = torch.stack([loop.update(client) for client in range(4)])
    torch.testing.assert_close(-theirs, rows, rtol=1e-4, atol=1e-6)
    before = loop.accuracy()
    for _ in range(60):
        loop.round()
    assert loop.accuracy() > before + 0.3


def test_attack_and_defense_are_those_that_ours_computes():
    rows = torch.randn(20, 500, generator=generator(0, "test"))
    sent = authors_loop.strike(rows, 4)
    ours = strike(Updates(rows), 4, median="lower")
    torch.testing.assert_close(sent, ours[0], rtol=1e-3, atol=1e-4)
    together = torch.cat([rows, sent.repeat(4, 1)])
    torch.testing.assert_close(
        authors_loop.krum(together, 4), multi_krum(Updates(together), 4).vector
    )
