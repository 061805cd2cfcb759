"""Attacks that start, stop, grow, and change their clients: whole rounds through the trainer."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from fl_platform.attacks import label_flip
from fl_platform.core import Updates
from fl_platform.core.attack_schedule import ALWAYS, AttackSchedule
from fl_platform.defenses import mean
from fl_platform.federated import (
    Adversary,
    Aggregator,
    AgnosticAdversary,
    FederatedModule,
    LocalTraining,
)

LOCAL = LocalTraining(batch=4, lr=0.05, momentum=0.5)


class Seen(Callback):
    def __init__(self):
        self.rounds = []

    def on_round_end(self, trainer, module, done):
        self.rounds.append((done, done.updates.matrix.clone()))


def opposite(honest, num_byzantine):
    return (-honest.mean()).expand(num_byzantine, -1)


def apart(honest, num_byzantine):
    return -honest.matrix[:num_byzantine].clone()


def negate(update):
    return -update


def fit(model, federation, adversary, rounds=6, ckpt_path=None, keep=None, **options):
    seen = Seen()
    options = {"byzantine": 3} | options
    module = FederatedModule(model, federation, LOCAL, **options)
    trainer = Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Aggregator(mean), *([adversary] if adversary else []), seen],
    )
    trainer.fit(module, ckpt_path=ckpt_path, weights_only=True)
    if keep is not None:
        trainer.save_checkpoint(keep)
    return module, seen.rounds


def weights(module):
    return torch.cat([p.detach().reshape(-1) for p in module.model.parameters()])


def test_before_start_and_from_stop_on_all_train_honestly(federation, network):
    schedule = AttackSchedule(start=2, stop=4)
    _, rounds = fit(network(), federation, Adversary(opposite, schedule=schedule))
    assert [len(done.cohort.byzantine) for done, _ in rounds] == [0, 0, 3, 3, 0, 0]
    assert [done.num_byzantine for done, _ in rounds] == [3] * 6  # the defense is told no less
    _, peace = fit(network(), federation, None)
    for t in (0, 1):
        assert torch.equal(rounds[t][1], peace[t][1])
    assert not torch.equal(rounds[2][1], peace[2][1])


@pytest.mark.parametrize("rule", [opposite, apart])
def test_a_ramp_moves_the_rows_from_the_mean_to_the_attack(federation, network, rule):
    _, rounds = fit(network(), federation, Adversary(rule, schedule=AttackSchedule(ramp=4)))
    for t, (done, received) in enumerate(rounds):
        honest, sent = Updates(received[: done.num_honest]), received[done.num_honest :]
        share = min(1.0, (t + 1) / 4)
        expected = honest.mean() + share * (rule(honest, 3) - honest.mean())
        torch.testing.assert_close(sent, expected, rtol=1e-5, atol=1e-7)


def test_a_ramp_of_a_client_that_trains_begins_at_its_own_update(federation, network):
    ramped = AgnosticAdversary(negate, schedule=AttackSchedule(ramp=2))
    module, rounds = fit(network(), federation, ramped, rounds=1)
    _, peace = fit(network(), federation, None, rounds=1)
    own = peace[0][1][list(module.byzantine)]
    sent = rounds[0][1][rounds[0][0].num_honest :]
    assert own.abs().max() > 0.01
    assert sent.abs().max() < 1e-6  # half of the way from g to -g


def test_identities_switch_and_the_first_are_those_without_a_switch(federation, network):
    schedule = AttackSchedule(switch=2)
    module, rounds = fit(network(), federation, Adversary(opposite, schedule=schedule))
    who = [done.cohort.byzantine for done, _ in rounds]
    assert who[0] == who[1] == module.byzantine
    assert who[2] == who[3]
    assert who[4] == who[5]
    assert len(set(who)) > 1
    assert all(len(members) == 3 for members in who)


@pytest.mark.parametrize("rule", [Adversary(opposite), AgnosticAdversary(negate)])
@pytest.mark.parametrize("sampled", [None, 7])
def test_a_run_goes_on_to_the_same_bits(federation, network, tmp_path, rule, sampled):
    schedule = AttackSchedule(start=1, stop=6, ramp=3, switch=2)

    def played():
        return type(rule)(rule.rule, schedule=schedule)

    options = {"sampled": sampled, "worker_momentum": 0.9}
    whole, _ = fit(network(), federation, played(), rounds=7, **options)
    kept = tmp_path / "after-3.ckpt"
    fit(network(), federation, played(), rounds=3, keep=kept, **options)
    resumed, _ = fit(network(), federation, played(), rounds=7, ckpt_path=kept, **options)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_schedule_that_always_plays_changes_nothing(federation, network):
    plain, _ = fit(network(), federation, Adversary(opposite))
    always, _ = fit(network(), federation, Adversary(opposite, schedule=AttackSchedule()))
    assert AttackSchedule() == ALWAYS
    assert torch.equal(weights(plain), weights(always))


def test_flipped_labels_and_silence_have_no_half_way(federation, network):
    with pytest.raises(ValueError, match=r"attack.schedule.ramp: expected 0 for label_flip"):
        AgnosticAdversary(label_flip(), schedule=AttackSchedule(ramp=2))

    def absent(honest, num_byzantine):
        return honest.matrix[:0]

    silent = Adversary(absent, schedule=AttackSchedule(ramp=2))
    with pytest.raises(ValueError, match=r"attack.schedule.ramp: expected 0 for an attack that"):
        fit(network(), federation, silent, rounds=1)
