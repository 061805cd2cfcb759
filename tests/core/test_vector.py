"""Model state and flat vector: an exact round trip that shares no memory."""

import pytest
import torch
from torch import nn

from fl_platform.core import generator
from fl_platform.core.vector import assign, flatten, state_tensors


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def vector_like(tensors: list[torch.Tensor]) -> torch.Tensor:
    size = sum(tensor.numel() for tensor in tensors)
    return torch.randn(size, generator=generator(0, "vector"))


@pytest.mark.parametrize("state", ["parameters", "all"])
def test_round_trip(state: str) -> None:
    tensors = state_tensors(model(), state)
    vector = vector_like(tensors)
    if state == "all":
        vector[-1] = 41.0  # the batch counter, an integer
    assign(tensors, vector)
    assert torch.equal(flatten(tensors), vector)
    assert torch.equal(flatten(tensors, out=torch.empty_like(vector)), vector)


def test_state_all_adds_buffers_with_their_integer_counter() -> None:
    net = model()
    extra = state_tensors(net, "all")[len(state_tensors(net)) :]
    assert [tensor.shape for tensor in extra] == [(2,), (2,), ()]
    assert extra[-1].dtype == torch.int64
    vector = flatten(state_tensors(net, "all"))
    vector[-1] = 6.7
    assign(state_tensors(net, "all"), vector)
    assert int(net[1].num_batches_tracked) == 7


def step(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(net.parameters(), lr=0.1).step()


def test_a_later_optimizer_step_leaves_the_assigned_vector_alone() -> None:
    net = model()
    vector = vector_like(list(net.parameters()))
    before = vector.clone()
    assign(net.parameters(), vector)
    step(net)
    assert torch.equal(vector, before)
    assert not torch.equal(flatten(net.parameters()), before)


def test_control_parameters_that_are_views_do_change_the_vector() -> None:
    net = model()
    vector = vector_like(list(net.parameters()))
    before = vector.clone()
    nn.utils.vector_to_parameters(vector, net.parameters())
    step(net)
    assert not torch.equal(vector, before)


def test_flatten_copies() -> None:
    net = model()
    vector = flatten(net.parameters())
    before = vector.clone()
    step(net)
    assert torch.equal(vector, before)


def test_float64_is_kept_and_wrong_lengths_are_refused() -> None:
    assert flatten(model().double().parameters()).dtype == torch.float64
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(4,\)"):
        assign([torch.zeros(3)], torch.zeros(4))
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        flatten([torch.zeros(3)], out=torch.zeros(2))
    with pytest.raises(ValueError, match="at least one"):
        flatten([])
