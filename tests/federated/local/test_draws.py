"""Dropout and augmentation: drawn from named streams, or refused with a reason."""

import pytest
import torch
from torch import nn

from fl_platform.core import generator
from fl_platform.federated.client_training import Clients, LocalTraining, choose
from fl_platform.federated.client_training.channels_last import ChannelsLast
from fl_platform.federated.client_training.draws import Augmentation, crop_and_flip, draws_numbers
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.vmapped import Vmapped
from fl_platform.federated.federation import Federation, Samples
from fl_platform.models import bag_of_words, mlp

SETTINGS = LocalTraining(epochs=2, batch=4, lr=0.1)
AUGMENTED = LocalTraining(epochs=2, batch=4, lr=0.1, crop=2, flip=True)
CPU = torch.device("cpu")


def network(*middle):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), *middle, nn.Linear(16, 5))


@pytest.fixture
def dropout():
    return network(nn.Dropout(0.5))


@pytest.mark.parametrize("case", ["dropout", "augmented"])
def test_a_client_draws_the_same_whoever_trains_beside_it(images, trained, dropout, case):
    model, settings = (dropout, SETTINGS) if case == "dropout" else (network(), AUGMENTED)
    together = trained(Sequential, model, images, [3, 0, 4], settings)[0]
    torch.rand(17)  # what others draw from the global stream plays no part
    alone = [trained(Sequential, model, images, [c], settings)[0] for c in (3, 0, 4)]
    assert torch.equal(together, torch.cat(alone))
    for where in ({"round_index": 1}, {"seed": 1}):
        other = trained(Sequential, model, images, [3], settings, **where)[0]
        assert not torch.allclose(other, together[:1])


def test_the_global_stream_is_left_as_it_was(images, trained, dropout):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    trained(Sequential, dropout, images, [3, 0], SETTINGS)
    assert torch.random.get_rng_state().equal(before)


def test_dropout_and_augmentation_change_the_update(images, trained):
    plain = trained(Sequential, network(), images, [3], SETTINGS)[0]
    dropped = trained(Sequential, network(nn.Dropout(0.5)), images, [3], SETTINGS)[0]
    changed = trained(Sequential, network(), images, [3], AUGMENTED)[0]
    assert not torch.allclose(plain, dropped)
    assert not torch.allclose(plain, changed)


def test_channels_last_augments_alike(images, trained):
    expected = trained(Sequential, network(), images, [3, 0], AUGMENTED)[0]
    found = trained(ChannelsLast, network(), images, [3, 0], AUGMENTED)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_crop_and_flip_equal_those_of_torchvision():
    from torchvision.transforms.v2 import functional as published

    stream = generator(0, "test-images")
    images = torch.randint(256, (9, 3, 8, 6), generator=stream, dtype=torch.uint8)
    top, left = torch.randint(5, (2, 9), generator=stream)
    turned = torch.rand(9, generator=stream) < 0.5
    found = crop_and_flip(images, 2, top, left, turned)
    for i, image in enumerate(images):
        cut = published.crop(published.pad(image, [2]), int(top[i]), int(left[i]), 8, 6)
        expected = published.horizontal_flip(cut) if turned[i] else cut
        assert found[i].equal(expected)


def test_every_place_and_both_sides_are_drawn_alike():
    marked = torch.zeros(4000, 1, 5, 5)
    marked[:, 0, 2, 2] = 1.0
    moved = Augmentation(LocalTraining(crop=1), 0, 0, 0)(marked)
    counts = moved.sum(0)[0]
    assert counts[1:4, 1:4].min() > 360  # of 4000 / 9 = 444
    assert counts.sum() == 4000
    marked = torch.zeros(4000, 1, 1, 2)
    marked[:, 0, 0, 0] = 1.0
    assert 1850 < Augmentation(LocalTraining(flip=True), 0, 0, 0)(marked)[:, 0, 0, 1].sum() < 2150
    assert Augmentation(LocalTraining(crop=0), 0, 0, 0)(marked).equal(marked)


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="Expected images"):
        Augmentation(AUGMENTED, 0, 0, 0)(torch.zeros(3, 7))


def test_other_ways_fall_back_with_a_reason_or_refuse(images, dropout):
    shape = (1, 8, 8)
    fallen = choose("auto", CPU, dropout, shape, 4)
    assert (fallen.way, "dropout" in fallen.reason) == ("sequential", True)
    fallen = choose("auto", CPU, network(), shape, 4, augments=True)
    assert (fallen.way, "cropped or flipped" in fallen.reason) == ("sequential", True)
    for way in ("vmapped", "channels_last"):
        with pytest.raises(ValueError, match="dropout"):
            choose(way, CPU, dropout, shape, 4)
    with pytest.raises(ValueError, match="cropped or flipped"):
        Vmapped(network(), Clients(images, AUGMENTED))


def test_a_network_may_say_that_it_draws():
    class Noisy(nn.Module):
        draws_random_numbers = True

    assert draws_numbers(nn.Sequential(Noisy()))
    assert not draws_numbers(network())


@pytest.mark.parametrize("way", [Vmapped, ChannelsLast])
@pytest.mark.parametrize("kind", ["tabular", "tokens"])
def test_inputs_of_other_kinds_train_in_all_ways(trained, way, kind):
    stream = generator(0, "test-kinds")
    targets = torch.randint(3, (30,), generator=stream)
    if kind == "tabular":
        inputs, build = torch.randn(30, 6, generator=stream), lambda: mlp(3, (6,), hidden=4)
    else:
        inputs = torch.randint(9, (30, 6), generator=stream)
        build = lambda: bag_of_words(3, (6,), vocabulary=9, width=4)  # noqa: E731
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = build()
    federation = Federation(Samples(inputs, targets), torch.arange(30).split([9, 8, 13]), 3)
    found = trained(way, model, federation, [0, 1, 2], SETTINGS)[0]
    expected = trained(Sequential, model, federation, [0, 1, 2], SETTINGS)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert choose("auto", CPU, model, (6,), 4).way == "vmapped"
