"""Switches of the whole process: set inside, put back after, whatever happens inside."""

import os

import pytest
import torch

from fl_platform.core import Updates, generator
from fl_platform.core.precision import CUBLAS, deterministic, tensor_float32


def switches():
    cudnn = torch.backends.cudnn
    return {
        "products": torch.get_float32_matmul_precision(),
        "convolutions": cudnn.allow_tf32,
        "strict": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (cudnn.deterministic, cudnn.benchmark),
        "workspaces": os.environ.get(CUBLAS),
    }


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    monkeypatch.delenv(CUBLAS, raising=False)
    before = switches()
    yield
    assert switches() == before


@pytest.mark.parametrize(("allowed", "products"), [(True, "high"), (False, "highest")])
def test_tf32_is_allowed_or_forbidden_in_products_and_convolutions_alike(allowed, products):
    with tensor_float32(not allowed), tensor_float32(allowed):
        assert (switches()["products"], switches()["convolutions"]) == (products, allowed)


def test_products_of_updates_are_full_float32_where_tf32_is_allowed(monkeypatch):
    seen = []
    original = torch.Tensor.__matmul__

    def watched(self, other):
        seen.append((self.dtype, switches()["products"]))
        return original(self, other)

    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")
    updates = Updates(torch.randn(6, 40, generator=generator(0, "rows")))
    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    with tensor_float32(True):
        mixed = updates.mixed(torch.full((3, 6), 1 / 6))
        updates.gram(), updates.combine(torch.full((6,), 1 / 6)), list(mixed.columns())
        torch.eye(2) @ torch.eye(2)
    control = seen.pop()
    single = [state for dtype, state in seen if dtype == torch.float32]
    assert control == (torch.float32, "high")
    assert len(single) >= 3
    assert set(single) == {"highest"}


def test_deterministic_refuses_what_has_no_algorithm_that_repeats_its_bits():
    put = lambda: torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))  # noqa: E731
    with deterministic(False):
        put()
    with deterministic(True):
        assert switches()["cudnn"] == (True, False)
        assert os.environ[CUBLAS] == ":4096:8"
        with pytest.raises(RuntimeError, match="deterministic"):
            put()


@pytest.mark.parametrize("switch", [deterministic, tensor_float32])
def test_an_error_inside_leaves_nothing_behind(switch):
    before = switches()

    def fail():
        with switch(True):
            assert switches() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_what_the_caller_had_set_comes_back(monkeypatch):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with monkeypatch.context() as typed:
            typed.setenv(CUBLAS, ":16:8")
            before = switches()
            with deterministic(True):
                assert switches()["workspaces"] == ":16:8"
                assert not switches()["warns"]
            assert switches() == before
    finally:
        torch.use_deterministic_algorithms(False)
