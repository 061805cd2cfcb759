"""Whole rounds through Lightning's Trainer: roles, the server's step, resuming, divergence."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from fl_platform.core import Aggregate
from fl_platform.defenses import bucketing, centered_clipping, dnc, mean, median, multi_krum
from fl_platform.federated import (
    Adversary,
    Aggregator,
    AgnosticAdversary,
    Diverged,
    FederatedModule,
    LocalTraining,
)

LOCAL = LocalTraining(batch=4, lr=0.05, momentum=0.5)


class Recorder(Callback):
    def __init__(self):
        self.rounds = []

    def on_round_end(self, trainer, module, done):
        weights = [p.detach().clone() for p in module.model.parameters()]
        self.rounds.append((done, done.updates.matrix.clone(), weights))
        return {"round/size": float(len(done.updates))}


def opposite(honest, num_byzantine):
    """The mean of what it is given, negated."""
    return (-honest.mean()).expand(num_byzantine, -1)


def negate(update):
    return -update


def fit(
    model,
    federation,
    *callbacks,
    rounds=3,
    ckpt_path=None,
    precision="32-true",
    logger=False,
    accelerator="cpu",
    **options,
):
    recorder = Recorder()
    module = FederatedModule(model, federation, LOCAL, **options)
    trainer = Trainer(
        max_epochs=rounds,
        accelerator=accelerator,
        devices=1,
        precision=precision,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, recorder],
    )
    trainer.fit(module, ckpt_path=ckpt_path, weights_only=True)
    return module, recorder, trainer


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_without_attack_a_round_is_federated_averaging(federation, network):
    model = network()
    before = flat(model)
    module, recorder, _ = fit(copy.deepcopy(model), federation, Aggregator(mean), rounds=1)
    done, matrix, _ = recorder.rounds[0]
    assert matrix.shape == (12, len(before))
    assert done.num_honest == 12
    torch.testing.assert_close(flat(module.model), before - matrix.mean(0))


def test_byzantine_rows_come_last_and_reach_the_server(federation, network):
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(mean), byzantine=0.25, rounds=1
    )
    done, matrix, _ = recorder.rounds[0]
    assert (done.num_honest, len(done.byzantine), done.num_byzantine) == (9, 3, 3)
    torch.testing.assert_close(matrix[9:], -matrix[:9].mean(0).expand(3, -1))
    torch.testing.assert_close(done.aggregate.vector, matrix.mean(0))


def test_weights_come_back_in_the_order_of_the_rows(federation, network):
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(multi_krum), byzantine=0.25
    )
    for done, matrix, _ in recorder.rounds:
        weights = done.aggregate.weights
        assert float(weights.sum()) == pytest.approx(1)
        torch.testing.assert_close(
            (weights @ matrix.double()).float(), done.aggregate.vector, rtol=1e-4, atol=1e-6
        )


def test_agnostic_clients_train_and_send_their_own_update_changed(federation, network):
    _, honest, _ = fit(network(), federation, Aggregator(mean), byzantine=0.25, rounds=1)
    _, flipped, _ = fit(
        network(), federation, AgnosticAdversary(negate), Aggregator(mean), byzantine=0.25, rounds=1
    )
    done, matrix, _ = flipped.rounds[0]
    rows = dict(zip(honest.rounds[0][0].cohort.honest, honest.rounds[0][1], strict=True))
    for client, row in zip(done.cohort.byzantine, matrix[9:], strict=True):
        assert torch.equal(row, -rows[client])


def test_agnostic_clients_change_their_update_also_where_no_honest_client_was_drawn(
    federation, network
):
    options = {"byzantine": 0.4, "sampled": 1, "rounds": 4}
    _, changed, _ = fit(
        network(), federation, AgnosticAdversary(negate), Aggregator(mean), **options
    )
    _, plain, _ = fit(network(), federation, Aggregator(mean), **options)
    met = [done.index for done, _, _ in changed.rounds if not done.cohort.honest]
    first = met[0]  # until then both runs are the same
    assert torch.equal(changed.rounds[first][1], -plain.rounds[first][1])


def test_partial_knowledge_hands_the_attack_fewer_rows(federation, network):
    seen = []

    def spy(honest, num_byzantine):
        seen.append(honest.matrix.clone())
        return opposite(honest, num_byzantine)

    fit(network(), federation, Adversary(spy, knowledge=4), Aggregator(mean), byzantine=0.25)
    assert [len(matrix) for matrix in seen] == [4, 4, 4]
    seen.clear()
    fit(network(), federation, Adversary(spy, knowledge="own"), Aggregator(mean), byzantine=0.25)
    assert [len(matrix) for matrix in seen] == [3, 3, 3]


def test_knowledge_of_a_number_is_clamped_where_a_round_has_fewer_and_says_so(federation, network):
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite, knowledge=3), Aggregator(mean),
        byzantine=0.4, sampled=5, rounds=12,
    )  # fmt: skip
    attacked = [d for d, _, _ in recorder.rounds if d.cohort.byzantine and d.cohort.honest]
    assert [d.known for d in attacked] == [min(3, d.num_honest) for d in attacked]
    assert {d.known for d in attacked} >= {3, 2}
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(mean), byzantine=0.4, rounds=1
    )
    assert recorder.rounds[0][0].known is None


def test_an_attack_that_cannot_play_or_know_so_much_is_refused(federation, network):
    for adversary in (Adversary(opposite), AgnosticAdversary(negate)):
        with pytest.raises(ValueError, match="Expected a Byzantine client for"):
            fit(network(), federation, adversary, Aggregator(mean))
    fit(network(), federation, Adversary(opposite, knowledge=9), Aggregator(mean), byzantine=0.25)
    with pytest.raises(ValueError, match=r"at most 9 honest updates.*got 10"):
        fit(
            network(), federation, Adversary(opposite, knowledge=10), Aggregator(mean),
            byzantine=0.25,
        )  # fmt: skip


def test_a_round_without_honest_clients_has_no_loss(federation, network):
    class Spy(Logger):
        name, version = "spy", 0

        def __init__(self):
            super().__init__()
            self.losses = {}

        def log_metrics(self, metrics, step=None):
            self.losses[step] = metrics.get("round/loss")

        def log_hyperparams(self, *args):
            pass

    spy = Spy()
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(mean),
        byzantine=0.45, sampled=1, rounds=8, logger=spy,
    )  # fmt: skip
    honest = {done.index + 1: done.num_honest for done, _, _ in recorder.rounds}
    assert 0 in honest.values()
    assert {step: loss is None for step, loss in spy.losses.items()} == {
        step: count == 0 for step, count in honest.items()
    }
    assert all(math.isfinite(loss) for loss in spy.losses.values() if loss is not None)


def test_a_query_leaves_the_real_defense_untouched(federation, network):
    class Counting:
        calls = 0

        def __call__(self, updates, num_byzantine):
            self.calls += 1
            return Aggregate(updates.mean())

        def state_dict(self):
            return {"calls": self.calls}

        def load_state_dict(self, state):
            self.calls = state["calls"]

    def curious(honest, num_byzantine, query):
        rows = opposite(honest, num_byzantine)
        assert torch.isfinite(query(rows)).all()
        assert not torch.equal(query(rows), query(2 * rows))
        return rows

    rule = Counting()
    fit(network(), federation, Adversary(curious), Aggregator(rule), byzantine=0.25)
    assert rule.calls == 3


@pytest.mark.parametrize(
    ("defense", "mixings", "told"),
    [
        (lambda: dnc(seed=0, coordinates=2), (), False),
        (lambda: median, (bucketing(seed=0, s=2, f_after="ceil"),), False),
        (lambda: multi_krum, (), True),  # draws nothing: the control of what a query tells
        (lambda: centered_clipping(tau=0.01), (), True),  # and what it remembers is told
    ],
)
def test_a_query_tells_what_the_defense_does_but_not_what_it_will_draw(
    federation, network, defense, mixings, told
):
    answers = []

    def curious(honest, num_byzantine, query):
        rows = opposite(honest, num_byzantine)
        assert torch.equal(query(rows), query(rows))
        answers.append(query(rows))
        return rows

    aggregator = Aggregator(defense(), mixings)
    _, recorder, _ = fit(
        network(), federation, Adversary(curious), aggregator, byzantine=0.25, rounds=4
    )
    met = [done.aggregate.vector for done, _, _ in recorder.rounds]
    same = [torch.equal(one, other) for one, other in zip(answers, met, strict=True)]
    assert all(same) if told else not any(same)


def test_an_attack_that_writes_into_honest_updates_is_refused(federation, network):
    def vandal(honest, num_byzantine):
        honest.matrix.mul_(0)
        return opposite(honest, num_byzantine)

    with pytest.raises(ValueError, match="leave the honest updates"):
        fit(network(), federation, Adversary(vandal), Aggregator(mean), byzantine=0.25)


def test_an_attack_of_the_wrong_shape_is_refused_by_name(federation, network):
    def short(honest, num_byzantine):
        return honest.mean()[None, :-1]

    with pytest.raises(ValueError, match="short to return"):
        fit(network(), federation, Adversary(short), Aggregator(mean), byzantine=0.25)


@pytest.mark.parametrize(
    ("callbacks", "found"),
    [
        ([], "got 0"),
        ([Aggregator(mean), Aggregator(median)], r"got 2 \(mean, median\)"),
        ([Aggregator(mean), Adversary(opposite), AgnosticAdversary(negate)], "and 2"),
    ],
)
def test_the_roles_are_checked_before_training(federation, network, callbacks, found):
    with pytest.raises(ValueError, match=found):
        fit(network(), federation, *callbacks, byzantine=0.25)


def test_a_rule_that_cannot_serve_the_population_is_refused(federation, network):
    with pytest.raises(ValueError, match=r"at most f=4 Byzantine of n=12 .* got f=5"):
        fit(network(), federation, Aggregator(multi_krum), byzantine=0.4)


def test_an_attack_is_no_defense_and_the_other_way_round():
    with pytest.raises(TypeError, match="Expected a defense"):
        Aggregator(opposite)
    with pytest.raises(TypeError, match="colluding"):
        Adversary(negate)
    with pytest.raises(TypeError, match="own 'update'"):
        AgnosticAdversary(mean)


def test_rounds_without_byzantine_participants_work(federation, network):
    _, recorder, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(multi_krum),
        byzantine=0.25, sampled=4, rounds=25,
    )  # fmt: skip
    counts = {len(done.cohort.byzantine) for done, _, _ in recorder.rounds}
    assert 0 in counts
    assert max(counts) >= 2


def test_poisoned_global_generators_change_nothing(federation, network):
    class Poison(Callback):
        def on_round_end(self, trainer, module, done):
            for value in (random.random(), np.random.rand()):  # noqa: NPY002
                random.seed(value)
                np.random.seed(int(value * 1e6))  # noqa: NPY002
                torch.manual_seed(int(value * 1e6))

    plain, _, _ = fit(
        network(), federation, Adversary(opposite), Aggregator(multi_krum), byzantine=0.25
    )
    torch.manual_seed(99)
    poisoned, _, _ = fit(
        network(), federation, Poison(), Adversary(opposite), Aggregator(multi_krum), byzantine=0.25
    )
    assert torch.equal(flat(plain.model), flat(poisoned.model))


def test_batch_norm_statistics_follow_the_weights(federation, network):
    model = network(norm=True)
    before = model[1].running_mean.clone()
    module, recorder, _ = fit(
        model, federation, AgnosticAdversary(negate), Aggregator(mean), byzantine=0.25, rounds=1
    )
    after = module.model[1].running_mean
    assert not torch.equal(before, after)
    assert int(module.model[1].num_batches_tracked) == 0
    assert recorder.rounds[0][1].shape[1] == len(flat(model))


def test_state_all_attacks_and_aggregates_buffers_too(federation, network):
    model = network(norm=True)
    start = model[1].running_mean.clone()
    module, recorder, _ = fit(model, federation, Aggregator(mean), state="all", rounds=1)
    matrix, d = recorder.rounds[0][1], len(flat(model))
    assert matrix.shape[1] == d + 8 + 8 + 1
    expected = start - matrix[:, d : d + 8].mean(0)
    torch.testing.assert_close(module.model[1].running_mean, expected)
    counted = -matrix[:, -1].mean().round()
    assert int(module.model[1].num_batches_tracked) == int(counted) > 0


@pytest.mark.parametrize("rule", [mean, median])
def test_statistics_of_a_client_that_was_dropped_are_not_read(federation, network, rule):
    """The gate drops its row; its running statistics are NaN too, and 0 * NaN is NaN."""
    model = network(norm=True)
    before = model[1].running_mean.clone()
    federation.samples.inputs[federation.clients[4]] = float("nan")
    module, recorder, _ = fit(model, federation, Aggregator(rule), rounds=1)
    assert recorder.rounds[0][0].aggregate.dropped.tolist() == [4]
    after = module.model[1].running_mean
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_a_round_of_byzantine_clients_alone_is_attacked_too(federation, network):
    sent = []
    for rule in (lambda update: update, negate):
        _, recorder, _ = fit(
            network(), federation, AgnosticAdversary(rule), Aggregator(mean),
            byzantine=0.45, sampled=1, rounds=1,
        )  # fmt: skip
        done, matrix, _ = recorder.rounds[0]
        assert done.cohort.honest == ()
        sent.append(matrix)
    assert torch.equal(sent[1], -sent[0])
    assert sent[0].any()


def test_mixed_precision_stays_with_the_clients(federation, network):
    """Under autocast the products of a rule would be rounded to bfloat16."""
    seen = {"loss": set(), "rule": set()}

    def loss(outputs, targets):
        seen["loss"].add(outputs.dtype)
        return torch.nn.functional.cross_entropy(outputs, targets)

    def rule(updates, num_byzantine):
        seen["rule"].add((updates.matrix @ updates.matrix.T).dtype)
        return Aggregate(updates.mean())

    fit(network(), federation, Aggregator(rule), precision="bf16-mixed", loss=loss, rounds=1)
    assert seen == {"loss": {torch.bfloat16}, "rule": {torch.float32}}


def test_a_round_that_is_mostly_not_finite_ends_the_run(federation, network):
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="round 0"):
        fit(model, federation, Aggregator(median))


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_resuming_from_a_checkpoint_is_exact(federation, network, tmp_path, stop):
    options = {"byzantine": 0.25, "server": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.5)}
    roles = lambda: (Adversary(opposite), Aggregator(multi_krum))  # noqa: E731
    whole, _, _ = fit(network(), federation, *roles(), rounds=6, **options)

    class Save(Callback):
        def on_train_epoch_end(self, trainer, module):
            if trainer.global_step == stop:
                trainer.save_checkpoint(tmp_path / "c.ckpt")

    fit(network(), federation, *roles(), Save(), rounds=5, **options)
    resumed, recorder, _ = fit(
        network(seed=1), federation, *roles(), rounds=6, ckpt_path=tmp_path / "c.ckpt", **options
    )
    assert [done.index for done, _, _ in recorder.rounds] == list(range(stop, 6))
    assert torch.equal(flat(whole.model), flat(resumed.model))
