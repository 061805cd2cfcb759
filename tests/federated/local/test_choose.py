"""The rule that picks a way to train, and what is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fl_platform.core import mkl
from fl_platform.federated.client_training import Clients, LocalTraining, build_way, choose
from fl_platform.models import femnist_cnn, lenet, mlp, resnet18, small_alexnet

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def odd_convolution(classes, shape):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, classes))


def odd_perceptron(classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4096), nn.Tanh(), nn.Linear(4096, classes))


def processor(monkeypatch, name, capability, preloaded=False):
    """Let torch tell this name and these vector instructions."""
    monkeypatch.setattr(mkl, "preloaded", lambda: preloaded)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    if name is None:  # an older release
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        told = {"cpu_name": name}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)


@pytest.mark.parametrize(
    ("build", "shape", "device", "capability", "way"),
    [
        (mlp, (1, 8, 8), CPU, "AVX2", "vmapped"),
        (mlp, (1, 8, 8), CUDA, "AVX2", "stacked"),
        (femnist_cnn, (1, 28, 28), CPU, "AVX512", "channels_last"),
        (femnist_cnn, (1, 28, 28), CUDA, "AVX2", "stacked"),
        (small_alexnet, (3, 32, 32), CUDA, "AVX512", "stacked"),
        (odd_convolution, (1, 8, 8), CUDA, "AVX512", "vmapped"),
        (odd_convolution, (1, 8, 8), CPU, "AVX512", "sequential"),
        (lenet, (1, 28, 28), CPU, "AVX512", "channels_last"),
        (lenet, (1, 28, 28), CPU, "AVX2", "channels_last"),
        (lenet, (1, 28, 28), CPU, "DEFAULT", "channels_last"),
        (odd_perceptron, (1, 8, 8), CUDA, "AVX512", "graphed"),
        (resnet18, (3, 32, 32), CUDA, "AVX512", "sequential"),
        (small_alexnet, (3, 32, 32), CPU, "AVX512", "stacked"),
        (odd_perceptron, (1, 8, 8), CPU, "AVX512", "sequential"),
    ],
)
def test_auto_is_a_rule_of_device_and_shapes(build, shape, device, capability, way, monkeypatch):
    processor(monkeypatch, "Intel Xeon Processor", capability)
    with torch.device("meta"):
        model = build(10, shape)
    choice = choose("auto", device, model, shape, 128)
    assert choice.way == way
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in choice.reason


@pytest.mark.parametrize(
    ("name", "capability", "way"),
    [
        ("AMD EPYC", "AVX512", "sequential"),
        ("AMD EPYC", "AVX2", "stacked"),
        ("Intel Xeon Processor", "AVX512", "stacked"),
        (None, "AVX512", "stacked"),
    ],
)
def test_auto_stacks_small_maps_where_products_are_fast(name, capability, way, monkeypatch):
    processor(monkeypatch, name, capability)
    model = small_alexnet(10, (3, 32, 32))
    assert choose("auto", CPU, model, (3, 32, 32), 128).way == way


def test_auto_stacks_on_amd_where_a_preloaded_library_makes_products_fast(monkeypatch):
    processor(monkeypatch, "AMD EPYC", "AVX512", preloaded=True)
    assert choose("auto", CPU, small_alexnet(10, (3, 32, 32)), (3, 32, 32), 128).way == "stacked"


def test_a_tiny_model_that_cannot_be_stacked_falls_back_and_says_why():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    choice = choose("auto", CPU, model, (1, 8, 8), 16)
    assert choice.way == "sequential"
    assert "buffers" in choice.reason
    loss = choose("auto", CPU, mlp(10, (1, 8, 8)), (1, 8, 8), 16, F.multi_margin_loss)
    assert (loss.way, "cross-entropy" in loss.reason) == ("sequential", True)


def test_what_was_asked_for_is_done_or_refused():
    model = mlp(10, (1, 8, 8))
    for way in ("sequential", "channels_last", "vmapped", "stacked"):
        assert choose(way, CPU, model, (1, 8, 8), 16).way == way
    assert choose("graphed", CUDA, model, (1, 8, 8), 16).way == "graphed"
    with pytest.raises(ValueError, match="Expected a CUDA device"):
        choose("graphed", CPU, model, (1, 8, 8), 16)
    with pytest.raises(ValueError, match="train in parallel"):
        choose("vmapped", CPU, nn.BatchNorm2d(1), (1, 8, 8), 16)
    with pytest.raises(ValueError, match="train as a stack, but it has a BatchNorm2d"):
        choose("stacked", CPU, nn.BatchNorm2d(1), (1, 8, 8), 16)
    with pytest.raises(ValueError, match="auto or one of"):
        choose("fastest", CPU, model, (1, 8, 8), 16)


def test_graphs_are_refused_off_cuda_when_built_too(images):
    with pytest.raises(ValueError, match="CUDA device"):
        build_way("graphed", mlp(5, (1, 8, 8)), Clients(images, LocalTraining()))
