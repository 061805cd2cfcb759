"""Closed forms against slow searches, and distances against their definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.core import generator
from fl_platform.core.geometry import (
    largest_step,
    median_distances,
    squared_distances,
    squared_distances_to,
)


def rows(m: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(m, d, generator=generator(seed, "rows"), dtype=torch.float64).exp()


def search(feasible: object) -> float:
    low, high = 0.0, 1.0
    while feasible(high):
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def step_and_search(matrix: torch.Tensor, direction: torch.Tensor) -> tuple[float, float]:
    bound = float((matrix[:, None] - matrix[None]).square().sum(2).max())
    offsets = matrix.mean(0) - matrix
    step = largest_step(
        offsets.square().sum(1), offsets @ direction, float(direction @ direction), bound
    )
    return step, search(
        lambda alpha: bool(((offsets + alpha * direction).square().sum(1) <= bound).all())
    )


@settings(max_examples=60, deadline=None)
@given(m=st.integers(2, 12), d=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_largest_step_equals_a_search_over_the_rows(m: int, d: int, seed: int) -> None:
    matrix = rows(m, d, seed)
    direction = torch.randn(d, generator=generator(seed, "direction"), dtype=torch.float64)
    step, searched = step_and_search(matrix, direction)
    assert step == pytest.approx(searched, rel=1e-9)


def test_control_the_search_notices_a_root_of_the_wrong_sign() -> None:
    matrix, direction = rows(5, 3, 1), torch.ones(3, dtype=torch.float64)
    _, searched = step_and_search(matrix, direction)
    bound = float((matrix[:, None] - matrix[None]).square().sum(2).max())
    offsets = matrix.mean(0) - matrix
    wrong = largest_step(offsets.square().sum(1), -(offsets @ direction), 3.0, bound)
    assert wrong != pytest.approx(searched, rel=1e-3)


def test_the_root_does_not_cancel() -> None:
    # room / (slope + root) = 1e-12 / 2 to full precision; (root - slope) / 1 would be 0
    step = largest_step(torch.tensor([1.0]), torch.tensor([1e6]), 1.0, 1.0 + 2**-40)
    assert step == pytest.approx(2**-40 / 2e6, rel=1e-12)
    assert math.sqrt(1e12 + 2**-40) - 1e6 == 0.0


def test_no_direction_and_no_room() -> None:
    ones = torch.ones(3)
    assert largest_step(ones, ones, 0.0, 4.0) == 0.0
    assert largest_step(ones, ones, 1.0, 1.0) == 0.0
    assert largest_step(ones, 0 * ones, 1.0, 1.0) == 0.0
    assert largest_step(ones, -ones, 1.0, 1.0) == 2.0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        largest_step(torch.ones(3), torch.ones(2), 1.0, 1.0)
    with pytest.raises(ValueError, match="m >= 1"):
        largest_step(torch.ones(0), torch.ones(0), 1.0, 1.0)
    with pytest.raises(ValueError, match="finite"):
        largest_step(torch.tensor([torch.nan]), torch.ones(1), 1.0, 1.0)


def test_distances_equal_their_definition_about_any_point() -> None:
    matrix = rows(6, 9, 0)
    centred = matrix - 5 * torch.ones(9)
    gram = centred @ centred.T
    exact = (matrix[:, None] - matrix[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(gram), exact)
    assert torch.equal(squared_distances(gram).diagonal(), torch.zeros(6, dtype=torch.float64))
    weights = torch.tensor([0.5, 0.25, 0.25, 0.5, -0.5, 0.0])
    point = weights.double() @ matrix
    torch.testing.assert_close(
        squared_distances_to(gram, weights), (matrix - point).square().sum(1)
    )


def test_a_far_minority_has_the_largest_median_distances() -> None:
    matrix = torch.cat([rows(6, 4, 0), torch.full((5, 4), 1e6, dtype=torch.float64)])
    spread = median_distances((matrix[:, None] - matrix[None]).square().sum(2))
    assert float(spread[:6].max()) < float(spread[6:].min())
