"""Distributed SGD: momentum kept at the worker, rates over rounds, and what a checkpoint keeps."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.nn import functional as F

from fl_platform.attacks import label_flip
from fl_platform.core.schedules import Inverse, Milestones
from fl_platform.defenses import mean, trimmed_mean
from fl_platform.federated import (
    Adversary,
    Aggregator,
    AgnosticAdversary,
    FederatedModule,
    LocalTraining,
)
from fl_platform.federated.client_training.batches import batches, stream
from fl_platform.federated.worker_momentum import WorkerMomentum

FEDSGD = LocalTraining(batch=4, steps=1, walk="cycling", lr=1.0, momentum=0.0, clip=None)


class Recorder(Callback):
    def __init__(self):
        self.matrices, self.weights, self.rates = [], [], []

    def on_round_end(self, trainer, module, done):
        self.matrices.append(done.updates.matrix.clone())
        self.weights.append(flat(module.model))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class Save(Callback):
    def __init__(self, path, stop):
        self.path, self.stop = path, stop

    def on_train_epoch_end(self, trainer, module):
        if trainer.global_step == self.stop:
            trainer.save_checkpoint(self.path)


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def fit(
    model, federation, *roles, rounds=6, local=FEDSGD, kind=FederatedModule, ckpt=None, **options
):
    recorder = Recorder()
    module = kind(model, federation, local, **options)
    trainer = Trainer(
        max_epochs=rounds, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[*roles, recorder],
    )  # fmt: skip
    trainer.fit(module, ckpt_path=ckpt, weights_only=True)
    return module, recorder


def opposite(honest, num_byzantine):
    return (-honest.mean()).expand(num_byzantine, -1)


def negate(update):
    return -update


def plain_loop(model, federation, rounds, beta, delta, rate, decay, flipped=(), without=()):
    """Distributed SGD with momentum at the workers as a textbook has it: one worker a line.

    Clients in ``without`` keep none.
    """
    twin, kept = copy.deepcopy(model), {}
    states = []
    for t in range(rounds):
        sent = []
        for client, index in enumerate(federation.clients):
            batch = next(iter(batches(index, FEDSGD, stream(0, t, client), False, index.device)))
            inputs, targets = federation.samples.read(batch)
            if client in flipped:
                targets = federation.num_classes - 1 - targets
            loss = F.cross_entropy(twin(inputs), targets)
            gradient = torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()))]
            )
            kept[client] = beta * kept.get(client, 0) + (1 - delta) * gradient
            sent.append(gradient if client in without else kept[client])
        step, start = torch.stack(sent).mean(0), 0
        with torch.no_grad():
            for p in twin.parameters():
                part = step[start : start + p.numel()].view_as(p)
                p -= rate(t) * (part + decay * p)
                start += p.numel()
        states.append(flat(twin))
    return states


@pytest.mark.parametrize("delta", [0.0, 0.9])
@pytest.mark.parametrize("way", ["sequential", "vmapped", "channels_last"])
def test_rounds_equal_those_of_a_textbook_loop(federation, network, delta, way):
    model, schedule = network(), Milestones(at=[3], factor=0.5)
    expected = plain_loop(
        model, federation, 6, 0.9, delta, lambda t: 0.1 * (0.5 if t >= 3 else 1), 0.01
    )
    _, recorder = fit(
        copy.deepcopy(model), federation, Aggregator(mean), way=way,
        server=lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
        server_schedule=schedule, worker_momentum=0.9, worker_dampening=delta,
    )  # fmt: skip
    for found, wanted in zip(recorder.weights, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert recorder.rates == pytest.approx([0.1] * 3 + [0.05] * 3)


def test_clients_that_poison_labels_keep_momentum_too(federation, network):
    model = network()
    _, recorder = fit(
        copy.deepcopy(model), federation, Aggregator(mean), rounds=4, worker_momentum=0.5,
        byzantine=0.25, server=lambda p: torch.optim.SGD(p, lr=0.1),
    )  # fmt: skip
    flipper = AgnosticAdversary(label_flip)
    flipped_module, flipped = fit(
        copy.deepcopy(model), federation, Aggregator(mean), flipper, rounds=4, worker_momentum=0.5,
        byzantine=0.25, server=lambda p: torch.optim.SGD(p, lr=0.1),
    )  # fmt: skip
    expected = plain_loop(
        model, federation, 4, 0.5, 0.0, lambda t: 0.1, 0.0, flipped_module.byzantine
    )
    for found, wanted in zip(flipped.weights, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(flipped.weights[-1], recorder.weights[-1])


def test_byzantine_clients_send_plain_gradients_where_the_honest_alone_keep_momentum(
    federation, network
):
    model = network()
    module, recorder = fit(
        copy.deepcopy(model), federation, Aggregator(mean), AgnosticAdversary(label_flip),
        rounds=4, worker_momentum=0.5, worker_clients="honest", byzantine=0.25,
        server=lambda p: torch.optim.SGD(p, lr=0.1),
    )  # fmt: skip
    byzantine = module.byzantine
    expected = plain_loop(
        model, federation, 4, 0.5, 0.0, lambda t: 0.1, 0.0, byzantine, without=byzantine
    )
    for found, wanted in zip(recorder.weights, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_an_attack_on_its_own_update_sees_the_momentum(federation, network):
    model = network()
    options = {"worker_momentum": 0.9, "byzantine": 0.25, "rounds": 3}
    _, honest = fit(copy.deepcopy(model), federation, Aggregator(mean), **options)
    module, sent = fit(
        copy.deepcopy(model), federation, Aggregator(mean), AgnosticAdversary(negate), **options
    )
    first = honest.matrices[0][list(module.byzantine)]
    torch.testing.assert_close(sent.matrices[0][9:], -first)


def test_who_is_not_sampled_keeps_the_momentum():
    kept = WorkerMomentum([3, 5, 8], torch.empty(0, 2), 0.5)
    kept.apply([3, 8], torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    rows = torch.tensor([[4.0, 4.0]])
    kept.apply([5], rows)
    later = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    kept.apply([3, 5, 8], later)
    assert later.tolist() == [[1.5, 0.5], [2.0, 4.0], [1.0, 1.0]]
    assert kept.rows.tolist() == later.tolist()


@pytest.mark.parametrize("sampled", [None, 5])
@pytest.mark.parametrize("stop", [1, 3])
def test_resuming_with_momentum_and_schedules_is_exact(
    federation, network, tmp_path, stop, sampled
):
    options = {
        "byzantine": 0.25,
        "sampled": sampled,
        "worker_momentum": 0.9,
        "local": LocalTraining(
            batch=3, steps=2, walk="cycling", schedule=Inverse(period=2, warmup=3)
        ),
        "server": lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.5),
        "server_schedule": Milestones(at=[2, 4], factor=0.5),
    }
    roles = lambda: (Adversary(opposite), Aggregator(trimmed_mean))  # noqa: E731
    whole, _ = fit(network(), federation, *roles(), **options)
    path = tmp_path / "c.ckpt"
    fit(network(), federation, *roles(), Save(path, stop), rounds=5, **options)
    resumed, recorder = fit(network(seed=1), federation, *roles(), ckpt=path, **options)
    assert torch.equal(flat(whole.model), flat(resumed.model))
    assert len(recorder.rates) == 6 - stop

    forgotten = torch.load(path, weights_only=True)
    forgotten["worker_momentum"]["rows"].zero_()
    torch.save(forgotten, path)
    without, _ = fit(network(seed=1), federation, *roles(), ckpt=path, **options)
    assert not torch.equal(flat(whole.model), flat(without.model))


def test_momentum_of_another_population_is_refused(federation, network, tmp_path):
    path = tmp_path / "c.ckpt"
    fit(network(), federation, Aggregator(mean), Save(path, 1), rounds=2, worker_momentum=0.9)
    saved = torch.load(path, weights_only=True)
    saved["worker_momentum"]["rows"] = saved["worker_momentum"]["rows"][1:]
    torch.save(saved, path)
    with pytest.raises(ValueError, match="worker momentum of shape"):
        fit(network(), federation, Aggregator(mean), ckpt=path, worker_momentum=0.9)


class Scheduled(FederatedModule):
    """A user's own optimizer and scheduler, as Lightning's documentation has them."""

    make = staticmethod(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 4], gamma=0.5))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        return {"optimizer": optimizer, "lr_scheduler": self.make(optimizer)}


def test_a_scheduler_of_configure_optimizers_steps_once_a_round(federation, network, tmp_path):
    whole, recorder = fit(network(), federation, Aggregator(mean), kind=Scheduled)
    assert recorder.rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    path = tmp_path / "c.ckpt"
    fit(network(), federation, Aggregator(mean), Save(path, 3), rounds=4, kind=Scheduled)
    resumed, rest = fit(network(), federation, Aggregator(mean), ckpt=path, kind=Scheduled)
    assert rest.rates == [0.5, 0.25, 0.25]
    assert torch.equal(flat(whole.model), flat(resumed.model))


def test_a_scheduler_that_needs_a_metric_is_refused(federation, network):
    class Plateau(Scheduled):
        make = staticmethod(torch.optim.lr_scheduler.ReduceLROnPlateau)

        def configure_optimizers(self):
            config = super().configure_optimizers()
            config["lr_scheduler"] = {"scheduler": config["lr_scheduler"], "monitor": "round/loss"}
            return config

    with pytest.raises(ValueError, match="got ReduceLROnPlateau"):
        fit(network(), federation, Aggregator(mean), kind=Plateau)


def test_two_schedules_of_the_server_are_refused(federation, network):
    with pytest.raises(ValueError, match="leave one of them out"):
        fit(
            network(), federation, Aggregator(mean), kind=Scheduled,
            server_schedule=Milestones(at=[3]),
        )  # fmt: skip


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (-0.1, 0.0), (0.5, 1.0)])
def test_impossible_momentum_is_refused(wrong):
    with pytest.raises(ValueError, match="momentum"):
        WorkerMomentum([0], torch.empty(0, 2), *wrong)
