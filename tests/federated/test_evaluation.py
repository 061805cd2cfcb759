"""Scores of a model: the same whatever the batch and the order of images in memory."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fl_platform.core import generator
from fl_platform.federated import Samples
from fl_platform.federated.evaluation import _networks, batch_size, evaluate


@pytest.fixture
def model():
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(4),
            nn.Flatten(), nn.Linear(16, 5),
        ).train()  # fmt: skip


@pytest.fixture
def samples():
    stream = generator(0, "evaluation")
    images = torch.randint(256, (37, 3, 8, 8), generator=stream, dtype=torch.uint8)
    return Samples(images, torch.randint(4, (37,), generator=stream), (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 10, 37, 1000, None])
def test_a_score_is_that_of_the_whole_set_at_once(model, samples, batch, channels_last):
    found = evaluate(model, samples, 5, batch, channels_last)
    assert model.training
    inputs, targets = samples.read(slice(None))
    with torch.no_grad():
        outputs = model.eval()(inputs)
    right = outputs.argmax(1) == targets
    assert found.accuracy == pytest.approx(float(right.double().mean()), abs=1e-12)
    assert found.loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-5)
    classes = [float(right[targets == c].double().mean()) for c in range(4)]
    assert found.per_class[:4] == pytest.approx(classes, abs=1e-12)
    assert math.isnan(found.per_class[4])
    assert 0 < found.accuracy < 1


@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_batch_has_the_bits_of_the_whole_set(samples, stored, dtype):
    samples = replace(samples, inputs=samples.inputs.to(stored))
    index = torch.tensor([36, 0, 5, 5, 17], dtype=dtype)
    for found, whole in zip(samples.read(index), samples.read(slice(None)), strict=True):
        assert torch.equal(found, whole[index])


def test_an_index_outside_is_refused(samples):
    with pytest.raises(IndexError, match="out of range"):
        samples.read(torch.tensor([37]))


@pytest.mark.parametrize("batch", [1, 10, None])
def test_a_stack_of_one_client_scores_as_the_model_does(samples, batch):
    with torch.random.fork_rng([]):
        torch.manual_seed(4)
        model = small_alexnet_like()
    samples = replace(samples, inputs=samples.inputs.clone())
    for _ in range(2):  # the second evaluation reads the weights as they are now
        expected = evaluate(model, samples, 5, batch, stacked=False)
        before = samples.inputs.clone()
        found = evaluate(model, samples, 5, batch, stacked=True)
        assert torch.equal(samples.inputs, before)
        assert found.accuracy == expected.accuracy
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(-1.5)


def test_a_stack_keeps_nothing_and_leaves_a_model_it_does_not_know_alone(model, samples):
    known = small_alexnet_like()
    evaluate(known, samples, 5, stacked=True)
    network = _networks[known][1]
    assert network is not None
    layers = [*network.layers, *(p for one in network.layers for p in getattr(one, "parts", ()))]
    kept = [vars(one).get(name) for one in layers for name in ("_x", "_y", "_kept")]
    assert kept
    assert all(one is None for one in kept)
    unknown = evaluate(model, samples, 5, stacked=True)  # has a batch norm
    assert unknown.loss == evaluate(model, samples, 5, stacked=False).loss


def small_alexnet_like():
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


def test_images_go_in_as_many_at_a_time_as_asked(model, samples):
    seen = []
    model.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    evaluate(model, samples, 5, 15, channels_last=True)
    assert [len(inputs) for inputs in seen] == [15, 15, 7]
    assert all(inputs.is_contiguous(memory_format=torch.channels_last) for inputs in seen)


@pytest.mark.parametrize(
    ("shape", "expected", "large_maps"),
    [((1, 28, 28), 500, 100), ((3, 32, 32), 500, 100), ((3, 224, 224), 27, 27)],
)
def test_large_images_and_large_maps_go_in_small_batches(shape, expected, large_maps):
    images = torch.empty(1, dtype=torch.uint8).expand(600, *shape)
    samples = Samples(images, torch.zeros(600, dtype=torch.long))
    assert batch_size(samples) == expected
    assert batch_size(samples, channels_last=True) == large_maps
