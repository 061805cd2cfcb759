import math

import pytest
import torch

from fl_platform.core import Updates
from fl_platform.metrics import deviation


def honest():
    return Updates(torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.0, 1.0]]))


def test_numbers_by_hand():
    # Mean (1, 1); squared distances 2, 2, 4, 0: V = 2.
    found = deviation(honest(), torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 5.0], [1.0, 1.0]]))
    assert found["deviation"] == pytest.approx(2)
    assert found["deviation_ratio"] == pytest.approx(math.sqrt(2))
    assert found["cosine"] == pytest.approx(0, abs=1e-7)
    assert found["honest_radius"] == pytest.approx(math.sqrt(2))
    assert found["byzantine_distance"] == pytest.approx(2 / math.sqrt(2))
    assert found["byzantine_cosine"] == pytest.approx(4 / math.sqrt(20))


def test_equal_rows_count_as_one():
    row = torch.tensor([4.0, 1.0])
    view = deviation(honest(), row, row.expand(5, -1))
    copied = deviation(honest(), row, row.repeat(5, 1))
    assert view == pytest.approx(copied)
    assert view["byzantine_distance"] == pytest.approx(3 / math.sqrt(2))


def test_the_mean_itself_deviates_by_nothing_and_its_negative_points_back():
    mean = honest().mean()
    assert deviation(honest(), mean)["deviation"] == 0.0
    assert deviation(honest(), mean)["cosine"] == pytest.approx(1)
    assert deviation(honest(), -mean)["cosine"] == pytest.approx(-1)


@pytest.mark.parametrize("sent", [None, torch.empty(0, 2)])
def test_without_byzantine_rows_nothing_is_said_of_them(sent):
    assert "byzantine_distance" not in deviation(honest(), torch.zeros(2), sent)


def test_equal_honest_rows_make_ratios_infinite_or_zero():
    same = Updates(torch.ones(3, 2))
    assert deviation(same, torch.ones(2))["deviation_ratio"] == 0.0
    assert deviation(same, torch.zeros(2))["deviation_ratio"] == math.inf
    assert deviation(same, torch.zeros(2))["cosine"] == 0.0


def test_large_vectors_are_measured_in_float64():
    mean, ones = torch.zeros(2, 10**6), torch.full((10**6,), 0.1)
    assert deviation(Updates(mean), ones)["deviation"] == pytest.approx(100, rel=1e-6)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="Expected an aggregate of shape"):
        deviation(honest(), torch.zeros(3))
    with pytest.raises(ValueError, match="Expected Byzantine rows of shape"):
        deviation(honest(), torch.zeros(2), torch.zeros(4, 3))
