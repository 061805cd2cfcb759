"""The step of many clients, by torch and by the kernel under Triton's interpreter."""

import importlib
import importlib.util

import pytest
import torch

from fl_platform.core import generator
from fl_platform.federated.client_training import LocalTraining
from fl_platform.federated.client_training.stacked_sgd import stacked_sgd_step
from fl_platform.federated.client_training.workspace import sgd_step

SETTINGS = {
    "plain": LocalTraining(lr=0.1, momentum=0.0, clip=None),
    "momentum": LocalTraining(lr=0.1, momentum=0.9, clip=None),
    "clipped": LocalTraining(lr=0.5, momentum=0.0, weight_decay=0.1, clip=1.0),
    "all": LocalTraining(lr=0.1, momentum=0.5, weight_decay=0.1, clip=30.0),
}


@pytest.fixture(params=["torch", "triton"])
def step(request, monkeypatch):
    if request.param == "torch":
        yield stacked_sgd_step
        return
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs Triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from fl_platform.federated.client_training import triton_sgd

    yield importlib.reload(triton_sgd).fused_sgd_step
    monkeypatch.undo()
    importlib.reload(triton_sgd)


@pytest.fixture
def stacks():
    """Parameters, gradients and momentum of four clients, columns of wider stacks."""
    draws = generator(0, "sgd")
    return [torch.randn(4, 2600, generator=draws)[:, :2500] for _ in range(3)]


@pytest.mark.parametrize("active", [None, [True, True, False, False], [True, False, True, True]])
@pytest.mark.parametrize("name", SETTINGS)
def test_active_clients_move_as_one_by_one_and_others_stay_to_the_bit(step, stacks, name, active):
    found, expected = ([part.clone() for part in stacks] for _ in "ab")
    for part in found[1:]:
        if active is not None:
            part[~torch.tensor(active)] = float("nan")
    step(*found, SETTINGS[name], None if active is None else torch.tensor(active))
    for client, moves in enumerate(active or [True] * 4):
        rows = [part[client] for part in expected]
        before = rows[0].clone()
        if moves:
            sgd_step(*rows, SETTINGS[name])
            torch.testing.assert_close(found[0][client], rows[0], rtol=1e-5, atol=1e-6)
            if SETTINGS[name].momentum:
                torch.testing.assert_close(found[2][client], rows[2], rtol=1e-5, atol=1e-6)
            assert not torch.equal(found[0][client], before)
        else:
            assert torch.equal(found[0][client], before)
