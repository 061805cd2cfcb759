"""Every way of training on a CUDA device against a CPU; nothing that waits for the device."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from fl_platform.attacks import label_flip
from fl_platform.core import generator
from fl_platform.core.precision import deterministic, tensor_float32
from fl_platform.federated.client_training import Clients, LocalTraining, build_way
from fl_platform.federated.client_training.stacked_kernels import has_triton
from fl_platform.federated.client_training.stacked_sgd import stacked_sgd_step
from fl_platform.federated.client_training.stacked_training import Stacked
from fl_platform.federated.client_training.workspace import sgd_step
from fl_platform.federated.federation import Federation, Samples
from fl_platform.models import femnist_cnn, mlp, small_alexnet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DECAY = LocalTraining(epochs=2, batch=16, lr=0.05, momentum=0.9, weight_decay=0.01, clip=0.5)
SIZES = [33, 16, 1, 40, 20, 7, 3, 50, 12, 31]
IDS = [6, 0, 2, 3, 9, 5, 1, 7, 8]
NETWORKS = {
    "mlp": (mlp, (1, 8, 8), 10),
    "femnist": (femnist_cnn, (1, 28, 28), 62),
    "alexnet": (small_alexnet, (3, 32, 32), 10),
}


@pytest.fixture
def task():
    def make(name, dtype=torch.float32):
        build, shape, classes = NETWORKS[name]
        draws = generator(0, "cuda-images", classes)
        inputs = torch.randint(256, (sum(SIZES), *shape), generator=draws, dtype=torch.uint8)
        targets = torch.randint(classes, (sum(SIZES),), generator=draws)
        samples = Samples(inputs, targets, (0.5,) * shape[0], (0.25,) * shape[0])
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model = build(classes, shape).to(dtype)
        return model, Federation(samples, torch.arange(sum(SIZES)).split(SIZES), classes)

    return make


def updates(way, model, federation, device, relabel=None):
    """Updates of some clients by a way, on the CPU, in float64."""
    device = torch.device(device)
    model = model.to(device)
    clients = Clients(federation.to(device), DECAY, seed=3)
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    rows = torch.full((len(IDS), len(start)), float("nan"), device=device, dtype=start.dtype)
    build = partial(build_way, way) if isinstance(way, str) else way
    build(model, clients).train(IDS, 1, (start, []), rows, relabel=relabel)
    return rows.double().cpu()


def apart(rows, expected):
    return float(((rows - expected).norm(dim=1) / expected.norm(dim=1)).max())


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("way", ["sequential", "channels_last", "vmapped", "graphed", "stacked"])
@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_updates_in_float64_equal_those_of_a_cpu(double, task, way, name):
    model, federation = task(name, torch.float64)
    expected = updates("sequential", model, federation, "cpu")
    assert apart(updates(way, model, federation, "cuda"), expected) < 1e-8


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("precision", "typical", "worst"),
    [("32-true", 5e-3, 5e-3), ("tf32", 0.05, 0.3), ("bf16-mixed", 0.3, 0.3)],
)
def test_cuda_stack_in_each_precision(task, name, precision, typical, worst):
    """Rounding moves an update little, unless a hidden unit beside 0 changes sign.

    With operands rounded to TF32 on a CPU, six clients of the perceptron move by 3e-4 of their
    update's length and three by more: 0.134 for the client of one sample, as measured on an H100.
    """
    model, federation = task(name)
    expected = updates("sequential", model, federation, "cpu")
    mixed = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    with tensor_float32(precision == "tf32"), mixed if "bf16" in precision else nullcontext():
        rows = updates("stacked", model, federation, "cuda")
    each = (rows - expected).norm(dim=1) / expected.norm(dim=1)
    print(precision, name, each.tolist())
    assert each.median() < typical
    assert each.max() < worst


def test_cuda_poisoned_labels_and_chunks(double, task):
    model, federation = task("femnist", torch.float64)
    flip = partial(label_flip, num_classes=62)
    expected = updates("sequential", model, federation, "cpu", flip)
    for chunk in (None, 4, 8):
        rows = updates(partial(Stacked, chunk=chunk), model, federation, "cuda", flip)
        assert apart(rows, expected) < 1e-8


@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_round_waits_for_nothing(task, name):
    model, federation = task(name)
    device = torch.device("cuda")
    model = model.to(device)
    way = Stacked(model, Clients(federation.to(device), DECAY, seed=3))
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    rows = torch.empty(len(IDS), len(start), device=device)
    flip = partial(label_flip, num_classes=federation.num_classes)
    way.train(IDS, 0, (start, []), rows, relabel=flip)  # records the steps
    assert set(way._graphs) <= {8, 16}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        way.train(IDS, 1, (start, []), rows, relabel=flip)
        with pytest.raises(RuntimeError):
            rows.sum().item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert rows.isfinite().all()


def test_cuda_rounds_repeat_to_the_bit(task):
    model, federation = task("alexnet")
    with deterministic(True):
        rows = [updates("stacked", model, federation, "cuda") for _ in range(2)]
    assert torch.equal(*rows)


def test_cuda_one_way_changes_precision_between_rounds(task):
    model, federation = task("femnist")
    device = torch.device("cuda")
    model = model.to(device)
    way = Stacked(model, Clients(federation.to(device), DECAY, seed=3))
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    found = []
    for lowered in (False, True, False):
        rows = torch.empty(len(IDS), len(start), device=device)
        with torch.autocast("cuda", torch.bfloat16, enabled=lowered, cache_enabled=False):
            way.train(IDS, 1, (start, []), rows)
        found.append(rows.double())
    assert 1e-4 < apart(found[1], found[0]) < 0.3
    assert apart(found[2], found[0]) < 1e-5


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
@pytest.mark.parametrize("active", [None, [True, False, True, True]])
def test_cuda_kernel_of_sgd(active):
    draws = generator(0, "sgd")
    stacks = [torch.randn(4, 40016, generator=draws) for _ in range(3)]
    found = [part.cuda()[:, :40003] for part in stacks]
    expected = [part.double()[:, :40003] for part in stacks]
    before = found[0].cpu().clone()
    going = torch.tensor(active or [True] * 4)
    stacked_sgd_step(*found, DECAY, None if active is None else going.cuda())
    sgd_step(*expected, DECAY)
    torch.testing.assert_close(
        found[0].double().cpu()[going], expected[0][going], rtol=1e-5, atol=1e-6
    )
    assert torch.equal(found[0].cpu()[~going], before[~going])
