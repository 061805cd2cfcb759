import pytest
import torch

from fl_platform.core import Updates
from fl_platform.defenses.gate import accepted

HONEST = torch.tensor([[1.0, -2.0], [0.5, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38, 1e13])
def test_hostile_rows_are_refused(value: float) -> None:
    received = Updates(torch.cat([torch.tensor([[value, 0.0]]), HONEST]))
    assert accepted(received).tolist() == [False, True, True, True]


@pytest.mark.parametrize("value", [1e12, 1e-45, -0.0])
def test_large_but_usable_and_tiny_rows_pass(value: float) -> None:
    assert accepted(Updates(torch.cat([torch.tensor([[value, 0.0]]), HONEST]))).all()


def test_a_round_of_zeros_has_no_scale_but_still_a_limit() -> None:
    received = torch.zeros(5, 2)
    received[3, 0], received[4, 1] = 1.0, 1e20
    assert accepted(Updates(received)).tolist() == [True, True, True, True, False]


def test_nothing_finite_means_nothing_accepted() -> None:
    assert not accepted(Updates(torch.full((3, 2), torch.nan))).any()


def test_a_single_hostile_coordinate_in_the_last_chunk_is_seen() -> None:
    received = torch.ones(4, 40_000)
    received[2, -1] = torch.nan
    assert accepted(Updates(received)).tolist() == [True, True, False, True]
