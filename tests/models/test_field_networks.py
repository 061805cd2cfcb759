"""Networks of the field: sizes counted by hand, outputs against their sources."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fl_platform import models
from fl_platform.core import generator
from fl_platform.federated.client_training.draws import draws_numbers
from fl_platform.federated.client_training.vmapped import obstacle
from fl_platform.models import num_parameters


@pytest.mark.parametrize(
    ("name", "settings", "classes", "shape", "size"),
    [
        ("cnn_mnist", {}, 10, (1, 28, 28), 431_080),
        ("fc_mnist", {}, 10, (1, 28, 28), 79_510),
        ("bucketing_cnn", {}, 10, (1, 28, 28), 1_199_882),
        ("lenet", {}, 10, (1, 28, 28), 61_706),
        ("logistic_regression", {}, 10, (1, 28, 28), 7_850),
        ("resnet20", {"norm": "group"}, 10, (3, 32, 32), 269_722),
        ("resnet20", {"norm": "batch"}, 10, (3, 32, 32), 269_722),
        ("resnet18", {"norm": "batch", "stem": "small"}, 10, (3, 32, 32), 11_173_962),
        ("resnet18", {"norm": "group", "stem": "small"}, 10, (3, 32, 32), 11_173_962),
        ("vgg11", {}, 10, (3, 32, 32), 9_225_610),
        ("vgg11", {"norm": "batch"}, 10, (3, 32, 32), 9_231_114),
        ("logistic_regression", {}, 4, (600,), 2_404),
        ("mlp", {"hidden": 8}, 4, (600,), 4_844),
    ],
)
def test_size_and_output(name, settings, classes, shape, size):
    network = getattr(models, name)(classes, shape, **settings).eval()
    assert num_parameters(network) == size
    assert network(torch.zeros(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize("relus", [1, 2])
def test_the_network_of_the_bucketing_paper_is_that_of_its_code(relus):
    network = models.bucketing_cnn(10, (1, 28, 28), masks="fixed", relus=relus).train()
    w1, b1, w2, b2, w3, b3, w4, b4 = network.parameters()
    images = torch.randn(5, 1, 28, 28, generator=generator(0, "test-images"))
    channels, hidden = (network[place](torch.ones(5, size)) for place, size in ((5, 64), (9, 128)))
    maps = F.conv2d(F.conv2d(images, w1, b1).relu(), w2, b2)
    maps = F.max_pool2d(maps.relu() if relus == 2 else maps, 2) * channels[:, :, None, None]
    expected = F.linear(F.linear(maps.flatten(1), w3, b3).relu() * hidden, w4, b4)
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-6)
    default = models.bucketing_cnn(10, (1, 28, 28)).eval()
    default.load_state_dict(network.state_dict())
    assert torch.allclose(network.eval()(images), default(images)) is (relus == 1)


def test_lenet_is_that_of_flpoison_over_images_with_a_margin_of_two_pixels():
    network = models.lenet(10, (1, 28, 28))
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = network.parameters()
    images = torch.randn(5, 1, 28, 28, generator=generator(0, "test-images"))
    maps = F.max_pool2d(F.conv2d(F.pad(images, (2, 2, 2, 2)), w1, b1).relu(), 2)
    maps = F.max_pool2d(F.conv2d(maps, w2, b2).relu(), 2)
    hidden = F.linear(F.linear(maps.flatten(1), w3, b3).relu(), w4, b4).relu()
    torch.testing.assert_close(network(images), F.linear(hidden, w5, b5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn_mnist", "bucketing_cnn", "lenet"])
def test_other_image_sizes_are_served_and_too_small_ones_refused(name):
    build = getattr(models, name)
    assert build(7, (3, 32, 20)).eval()(torch.zeros(1, 3, 32, 20)).shape == (1, 7)
    with pytest.raises(ValueError, match=f"{name} needs images of at least"):
        build(7, (3, 5, 32))


def test_group_normalisation_keeps_no_statistics():
    for build in (models.resnet20, models.resnet18):
        assert not list(build(10, (3, 32, 32), norm="group").buffers())


def test_the_shortcut_of_resnet20_has_no_parameters_and_halves_the_map():
    block = models.resnet20(10, (3, 32, 32), norm="batch")[6]
    for name, parameter in block.named_parameters():
        if "norm" not in name:
            nn.init.zeros_(parameter)
    images = torch.rand(2, 16, 8, 8, generator=generator(0, "test-images"))
    out = block.eval()(images)
    assert out[:, 8:24].equal(images[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_vgg11_has_the_convolutions_of_torchvision():
    from torchvision.models import vgg11 as published

    ours, theirs = models.vgg11(10, (3, 32, 32)).eval(), published(weights=None).eval()
    features = [layer for layer in ours if isinstance(layer, nn.Conv2d)]
    wanted = [layer for layer in theirs.features if isinstance(layer, nn.Conv2d)]
    for mine, other in zip(features, wanted, strict=True):
        mine.load_state_dict(other.state_dict())
    images = torch.rand(2, 3, 32, 32, generator=generator(0, "test-images"))
    torch.testing.assert_close(ours[:-3](images), theirs.features(images))


@pytest.mark.parametrize("name", ["cnn_mnist", "fc_mnist"])
def test_outputs_equal_those_of_byzfl(name):
    pytest.importorskip("byzfl")
    from byzfl.fed_framework import models as published

    ours, theirs = getattr(models, name)(10, (1, 28, 28)), getattr(published, name)()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data.copy_(other.data)
    images = torch.rand(4, 1, 28, 28, generator=generator(0, "test-images"))
    torch.testing.assert_close(ours(images).log_softmax(1), theirs(images))


def test_a_bag_of_words_is_the_mean_of_its_vectors():
    network = models.bag_of_words(3, (5,), vocabulary=20, width=4)
    tokens = torch.tensor([[1, 2, 3, 0, 0], [19, 19, 19, 19, 19]])
    vectors = network[0].weight
    hidden = torch.stack([vectors[[1, 2, 3, 0, 0]].mean(0), vectors[19]])
    torch.testing.assert_close(network(tokens), network[2](hidden))
    with pytest.raises(ValueError, match="sequences of tokens"):
        models.bag_of_words(3, (1, 8, 8))


def test_fixed_masks_are_those_of_each_position_and_never_change():
    torch.manual_seed(0)
    network = models.bucketing_cnn(10, (1, 28, 28), masks="fixed")
    torch.manual_seed(0)
    drawn = models.bucketing_cnn(10, (1, 28, 28))
    for ours, theirs in zip(network.parameters(), drawn.parameters(), strict=True):
        assert ours.equal(theirs)
    layer = network[9]  # behind the hidden layer, dropped with chance 1/2
    ones = torch.ones(700, 128)
    first = layer(ones)
    assert layer(ones).equal(first)
    assert layer(ones[:32]).equal(first[:32])
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert 0.45 < first[:512].count_nonzero() / first[:512].numel() < 0.55
    assert first[512:].equal(first[: 700 - 512])
    assert not first[0].equal(first[1])
    maps = network[5](torch.ones(4, 64, 3, 3))
    assert maps.flatten(2).eq(maps[:, :, :1, 0]).all()  # channels are dropped whole
    assert layer.eval()(ones).equal(ones)


def test_fixed_masks_draw_nothing_and_refuse_a_chance_of_one():
    network = models.bucketing_cnn(10, (1, 28, 28), masks="fixed")
    before = torch.get_rng_state()
    network(torch.zeros(2, 1, 28, 28))
    assert torch.get_rng_state().equal(before)
    assert not draws_numbers(network)
    assert not obstacle(network)
    with pytest.raises(ValueError, match="below 1 beside masks=fixed"):
        models.bucketing_cnn(10, (1, 28, 28), masks="fixed", dropout=1.0)
