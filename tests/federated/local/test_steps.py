"""Steps in place of epochs: which samples a client reads in which round, in all ways alike."""

from itertools import chain

import pytest
import torch

from fl_platform.core.schedules import Milestones
from fl_platform.federated.client_training import LocalTraining
from fl_platform.federated.client_training.batches import batches, num_steps, side_by_side, stream
from fl_platform.federated.client_training.channels_last import ChannelsLast
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.vmapped import Vmapped
from fl_platform.models import mlp

STEPS = {
    "one": LocalTraining(batch=4, steps=1, lr=0.1, momentum=0.0, clip=None),
    "cycling": LocalTraining(batch=4, steps=2, lr=0.1, momentum=0.5, clip=None, walk="cycling"),
    "across": LocalTraining(batch=3, steps=7, lr=0.1, momentum=0.5, clip=0.5, walk="cycling"),
    "dropped": LocalTraining(batch=4, steps=3, drop_last=True, walk="cycling"),
    "epochs": LocalTraining(batch=4, epochs=2, drop_last=True),
}
CLIENTS = [6, 0, 2, 3, 5, 1]


def read(size, settings, rounds, client=0, merge=False):
    """The batches of a client with samples 0 .. size - 1, of all rounds one after the other."""
    index = torch.arange(size)
    return [
        batch.tolist()
        for t in rounds
        for batch in batches(index, settings, stream(5, t, client), merge, index.device)
    ]


@pytest.mark.parametrize(("drop", "per_pass"), [(False, 3), (True, 2)])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_a_cycling_walk_is_one_pass_after_the_other(steps, drop, per_pass):
    settings = LocalTraining(batch=4, steps=steps, walk="cycling", drop_last=drop)
    drawn = read(10, settings, range(per_pass))
    assert len(drawn) == steps * per_pass
    for start in range(0, len(drawn), per_pass):
        seen = list(chain(*drawn[start : start + per_pass]))
        assert len(set(seen)) == len(seen) == (8 if drop else 10)
    passes = {tuple(chain(*drawn[s : s + per_pass])) for s in range(0, len(drawn), per_pass)}
    assert len(passes) == steps


def test_a_round_reads_the_same_whether_or_not_earlier_ones_were_played():
    settings = STEPS["across"]
    whole = read(11, settings, range(6))
    assert read(11, settings, [4]) == whole[4 * 7 : 5 * 7]
    assert read(11, settings, [4], client=1) != whole[4 * 7 : 5 * 7]


def test_a_fresh_walk_begins_anew_and_agrees_with_epochs():
    one_pass = LocalTraining(batch=4, epochs=2)
    steps = LocalTraining(batch=4, steps=6)
    assert read(10, steps, [3]) == read(10, one_pass, [3])
    assert read(10, LocalTraining(batch=4, steps=4), [3]) == read(10, one_pass, [3])[:4]


def test_a_client_smaller_than_a_batch_keeps_its_only_one():
    assert [len(b) for b in read(3, LocalTraining(batch=4, steps=2, drop_last=True), [0])] == [3, 3]
    assert num_steps(3, LocalTraining(batch=4, epochs=2, drop_last=True)) == 2
    assert num_steps(11, LocalTraining(batch=4, epochs=2, drop_last=True)) == 4


def test_a_single_sample_joins_its_neighbour_in_a_walk_too():
    settings = LocalTraining(batch=4, steps=1, walk="cycling")
    assert [len(b) for b in read(9, settings, range(4), merge=True)] == [4, 5, 4, 5]


@pytest.mark.parametrize("name", STEPS)
def test_the_plan_holds_the_batches_that_are_read_one_by_one(images, name):
    settings, order = STEPS[name], [3, 0, 4, 2]
    order.sort(key=lambda c: -num_steps(len(images.clients[c]), settings))
    clients, streams = [images.clients[c] for c in order], [stream(2, 3, c) for c in order]
    plan = side_by_side(clients, streams, settings, images.samples)
    for row, (own, draws) in enumerate(zip(clients, streams, strict=True)):
        expected = [b.tolist() for b in batches(own, settings, draws, False, own.device)]
        real = plan.shares[row] > 0
        found = [i[r].tolist() for i, r in zip(plan.index[row], real, strict=True) if r.any()]
        assert found == expected
        sums = plan.shares[row].sum(1)[: len(expected)]
        torch.testing.assert_close(sums, torch.ones(len(expected)))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("way", [Vmapped, ChannelsLast])
def test_all_ways_take_the_same_steps(images, trained, name, way):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = mlp(5, (1, 8, 8), hidden=7)
    arguments = (model, images, CLIENTS, STEPS[name], 3, 5)
    rows, losses = trained(way, *arguments)
    expected, expected_losses = trained(Sequential, *arguments)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    assert expected.norm(dim=1).min() > 1e-3


def test_one_step_at_rate_one_sends_the_gradient(federation, network, trained):
    model = network()
    settings = LocalTraining(batch=4, steps=1, lr=1.0, momentum=0.0, clip=None, walk="cycling")
    row = trained(Sequential, model, federation, [1], settings, seed=7, round_index=2)[0][0]
    drawn = batches(federation.clients[1], settings, stream(7, 2, 1), False, torch.device("cpu"))
    inputs, targets = federation.samples.read(next(iter(drawn)))
    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*model.parameters()])])
    torch.testing.assert_close(row, gradient, rtol=1e-5, atol=1e-6)


def test_the_rate_of_a_round_is_that_of_its_schedule():
    settings = LocalTraining(lr=0.4, schedule=Milestones(at=[2], factor=0.5))
    assert [settings.at(t).lr for t in range(3)] == [0.4, 0.4, 0.2]
    plain = LocalTraining(lr=0.4)
    assert plain.at(7) is plain


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"walk": "random"}, {"walk": "cycling"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        LocalTraining(**wrong)
