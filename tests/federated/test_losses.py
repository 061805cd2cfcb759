"""The losses that a rule may ask for: each client's own, however its clients are trained."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional as F

from fl_platform.attacks import label_flip
from fl_platform.core import Aggregate
from fl_platform.defenses import median, nnm
from fl_platform.federated import (
    Adversary,
    Aggregator,
    AgnosticAdversary,
    FederatedModule,
    Federation,
    LocalTraining,
)
from fl_platform.federated.federation import Samples


class Heard:
    """The mean of all rows; keeps what it was given."""

    def __init__(self):
        self.rounds = []

    def __call__(self, updates, num_byzantine, clients, losses):
        self.rounds.append(dict(zip(clients.tolist(), losses.tolist(), strict=True)))
        return Aggregate(updates.mean(), torch.full((len(updates),), 1 / len(updates)))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Silent:
    """An attack that claims a loss of 0 for each of its clients."""

    def __call__(self, honest, num_byzantine):
        return honest.mean().expand(num_byzantine, -1)

    def losses(self, honest, num_byzantine):
        return torch.zeros(num_byzantine)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def mimic_mean(honest, num_byzantine):
    return honest.mean().expand(num_byzantine, -1)


def heard(
    model, federation, *callbacks, way="sequential", rounds=2, byzantine=0, rule=None, **more
):
    rule = rule or Heard()
    local = more.pop("local", LocalTraining(batch=4, lr=0.05, momentum=0.5))
    module = FederatedModule(model, federation, local, byzantine=byzantine, way=way, **more)
    trainer = Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Aggregator(rule), *callbacks],
    )
    trainer.fit(module)
    return module, getattr(rule, "rounds", [])


def test_with_one_full_step_each_reports_the_loss_of_the_model_on_its_samples(federation, network):
    model = network()
    samples = federation.samples
    with torch.no_grad():
        expected = {
            client: float(F.cross_entropy(model(samples.inputs[own]), samples.targets[own]))
            for client, own in enumerate(federation.clients)
        }
    _, rounds = heard(model, federation, local=LocalTraining(batch=100, lr=0.1), rounds=1)
    assert rounds[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("way", ["vmapped", "stacked", "channels_last"])
def test_every_way_of_training_reports_the_same(way):
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (60, 1, 8, 8), generator=stream, dtype=torch.uint8)
    targets = torch.randint(3, (60,), generator=stream)
    federation = Federation(Samples(inputs, targets), torch.arange(60).split([7, 20, 13, 20]), 3)

    def build():
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            conv = torch.nn.Conv2d(1, 4, 3)
            return torch.nn.Sequential(
                conv, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
            )

    _, expected = heard(build(), federation)
    _, found = heard(build(), federation, way=way)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_client_that_trains_on_flipped_labels_reports_its_loss_on_those(federation, network):
    model = network()
    samples = federation.samples
    local = LocalTraining(batch=100, lr=0.1)
    with torch.no_grad():
        flipped = [
            float(F.cross_entropy(model(samples.inputs[own]), 2 - samples.targets[own]))
            for own in federation.clients
        ]
    adversary = AgnosticAdversary(label_flip())
    module, rounds = heard(model, federation, adversary, byzantine=3, local=local, rounds=1)
    for client in module.byzantine:
        assert rounds[0][client] == pytest.approx(flipped[client], rel=1e-5)


def test_without_training_byzantine_clients_report_the_mean_unless_the_attack_says(
    federation, network
):
    module, rounds = heard(network(), federation, Adversary(mimic_mean), byzantine=3)
    honest = [loss for client, loss in rounds[0].items() if client not in module.byzantine]
    for client in module.byzantine:
        assert rounds[0][client] == pytest.approx(sum(honest) / len(honest), rel=1e-5)
    _, rounds = heard(network(), federation, Adversary(Silent()), byzantine=3)
    assert {rounds[0][client] for client in module.byzantine} == {0.0}


def test_losses_of_another_number_are_refused():
    class Wrong(Silent):
        def losses(self, honest, num_byzantine):
            return honest

    with pytest.raises(ValueError, match=r"Wrong.losses to return \(2,\) losses, got \(5,\)"):
        Adversary(Wrong()).losses(torch.ones(5), 2)


def test_nothing_is_collected_where_no_rule_asks(federation, network, monkeypatch):
    reported, seen = FederatedModule._reported, []

    def watched(self, cohort, losses):
        seen.append(losses)
        return reported(self, cohort, losses)

    def deaf(updates, num_byzantine):
        return median(updates, num_byzantine)

    monkeypatch.setattr(FederatedModule, "_reported", watched)
    heard(network(), federation, Adversary(mimic_mean), byzantine=3, rule=deaf, rounds=1)
    assert seen == [None]
    heard(network(), federation, Adversary(mimic_mean), byzantine=3, rounds=1)
    assert len(seen[1]) == 9


def test_a_mixed_row_has_no_loss(federation, network):
    module = FederatedModule(network(), federation, LocalTraining(batch=4))
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Aggregator(Heard(), [nnm()])],
    )
    with pytest.raises(ValueError, match="requires the client of each row"):
        trainer.fit(module)
