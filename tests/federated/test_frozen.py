"""Frozen parameters: no part of an update, whatever trains the clients."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from fl_platform.attacks import strike
from fl_platform.defenses import fltrust, median
from fl_platform.federated import Adversary, Aggregator, FederatedModule, LocalTraining

LOCAL = LocalTraining(batch=4, lr=0.05, momentum=0.5, weight_decay=0.1)


class Widths(Callback):
    def __init__(self):
        self.found = set()

    def on_round_end(self, trainer, module, done):
        self.found.add((done.updates.dimension, len(done.aggregate.vector)))


class LowRank(torch.nn.Module):
    """A frozen layer with a trainable change of rank 1, as in LoRA."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = torch.nn.Parameter(torch.randn(1, layer.in_features) / 8)
        self.up = torch.nn.Parameter(torch.zeros(layer.out_features, 1))

    def forward(self, inputs):
        return self.layer(inputs) + inputs @ self.down.T @ self.up.T


def fit(model, federation, *, callbacks=None, rounds=2, **options):
    widths = Widths()
    module = FederatedModule(model, federation, LOCAL, **options)
    roles = callbacks or [Aggregator(median), Adversary(strike(nu=1))]
    Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*roles, widths],
    ).fit(module)
    return module, widths.found


def head_only(network, **options):
    model = network(**options)
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize("way", ["sequential", "channels_last", "vmapped", "stacked"])
def test_only_the_head_is_sent_in_every_way_of_training(federation, network, way):
    model, start = head_only(network), network().state_dict()
    d = sum(p.numel() for p in model[-1].parameters())
    module, widths = fit(model, federation, byzantine=0.2, way=way)
    assert widths == {(d, d)}
    state = module.model.state_dict()
    assert all(torch.equal(state[name], start[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(state["2.weight"], start["2.weight"])
    reference, _ = fit(head_only(network), federation, byzantine=0.2)
    for ours, theirs in zip(state.values(), reference.model.state_dict().values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_frozen_body_gives_the_head_that_its_features_give(federation, network):
    """A head on frozen features is a network of its own on those features."""
    from fl_platform.federated import Federation, Samples

    model = head_only(network)
    samples = federation.samples
    features = Samples(model[:2](samples.inputs).detach(), samples.targets)
    alone = torch.nn.Linear(8, 3)
    alone.load_state_dict(model[-1].state_dict())
    fit(model, federation, byzantine=0.2)
    fit(alone, Federation(features, federation.clients, 3), byzantine=0.2)
    assert torch.allclose(model[-1].weight, alone.weight, atol=1e-6)
    assert torch.allclose(model[-1].bias, alone.bias, atol=1e-6)


@pytest.mark.parametrize("state", ["parameters", "all"])
def test_buffers_momentum_and_a_reference_fit_the_shorter_rows(federation, network, state):
    model = head_only(network, norm=True)
    options = {"state": state, "worker_momentum": 0.5, "root": federation}
    roles = [Aggregator(fltrust), Adversary(strike(nu=1))]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module, widths = fit(model, federation, callbacks=roles, byzantine=0.2, **options)
    after = module.model.state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["1.running_mean"], after["1.running_mean"])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    buffers = sum(b.numel() for b in model.buffers()) if state == "all" else 0
    assert widths == {(trained + buffers, trained + buffers)}


def test_low_rank_changes_alone_are_sent(federation, network):
    plain = network()
    model = torch.nn.Sequential(LowRank(plain[0]), plain[1], LowRank(plain[2]))
    _, widths = fit(model, federation, byzantine=0.2)
    assert widths == {(4 + 8 + 8 + 3,) * 2}
    assert model[2].up.abs().sum() > 0


def test_a_network_without_trainable_parameters_is_refused(federation, network):
    with pytest.raises(ValueError, match="with a trainable parameter"):
        fit(network().requires_grad_(False), federation, byzantine=0.2)
