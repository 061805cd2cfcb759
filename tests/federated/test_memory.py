"""The estimate of a run's memory follows its formula."""

from dataclasses import replace

from torch import nn

from fl_platform.federated.memory_estimate import CONTEXT, STACKS_MOST, footprint
from fl_platform.models import small_alexnet

D = 2_472_266


def estimate(way, trained=40, model=None, **changed):
    sizes = {"clients": 50, "batch": 128, "images": (50_000, 10_000), **changed}
    model = model or small_alexnet(10, (3, 32, 32))
    return footprint(model, (3, 32, 32), trained=trained, way=way, **sizes)


def test_the_papers_cifar10_setting():
    found = estimate("graphed")
    assert found.rows == 4 * 50 * D
    assert found.server == 4 * 50 * D + 32 * D
    assert found.data == 60_000 * (3072 + 8)
    assert found.total == sum(vars(found).values())
    assert found.total - CONTEXT > 2 * found.rows


def test_clients_side_by_side_take_as_many_times_the_memory_up_to_the_chunks_limit():
    one = estimate("graphed").trainer
    assert estimate("vmapped", trained=3).trainer == 3 * one
    assert estimate("stacked", trained=10_000).trainer == STACKS_MOST
    assert replace(estimate("stacked", trained=1)) == estimate("graphed")


def test_unfolded_inputs_and_activations_count_twice_an_image():
    model = nn.Sequential(nn.Conv2d(3, 2, 32), nn.Flatten(), nn.Linear(2, 2))
    d = 2 * 3 * 32 * 32 + 2 + 6
    found = estimate("sequential", model=model, batch=5)
    assert found.trainer == 4 * (3 * d + 2 * 5 * (3072 + (2 + 2 + 2) + 3072))
