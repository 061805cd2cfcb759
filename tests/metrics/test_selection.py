import numpy as np
import pytest
import torch

from fl_platform.core import Updates
from fl_platform.defenses import median, multi_krum, trimmed_mean
from fl_platform.metrics import byzantine_coordinates, selection
from fl_platform.metrics.selection import kept_coordinates


def test_numbers_by_hand():
    found = selection(torch.tensor([0.5, 0.0, 0.25, 0.25]), 2)
    assert found["byzantine_weight"] == 0.5
    assert found["honest_left_out"] == 0.5
    assert found["effective_rows"] == pytest.approx(1 / (0.25 + 2 / 16))


def test_the_mean_listens_to_all():
    found = selection(torch.full((50,), 1 / 50), 40)
    assert found["byzantine_weight"] == pytest.approx(0.2)
    assert found["honest_left_out"] == 0.0
    assert found["effective_rows"] == pytest.approx(50)


def test_no_weight_at_all_and_no_honest_row():
    assert selection(torch.zeros(3), 3)["effective_rows"] == 0.0
    assert selection(torch.ones(3), 0)["honest_left_out"] == 0.0


@pytest.mark.parametrize(("m", "h", "trim"), [(7, 5, None), (8, 6, None), (9, 6, 2), (5, 5, 0)])
def test_share_of_coordinates_equals_a_count(m, h, trim):
    g = np.random.default_rng(m).normal(size=(m, 40))
    cut = (m - 1) // 2 if trim is None else trim
    kept = np.argsort(g, 0)[cut : m - cut]
    share = byzantine_coordinates(Updates(torch.tensor(g)), h, trim)
    assert share == pytest.approx((kept >= h).mean())


def test_far_byzantine_values_are_all_cut_and_median_ones_all_kept():
    g = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    g[7:] = 100.0
    assert byzantine_coordinates(Updates(g), 7, 2) == 0.0
    g[7:] = torch.tensor([[-0.001], [0.001]])
    g[:3], g[3:7] = -1.0, 1.0
    assert byzantine_coordinates(Updates(g), 7) == 1.0


def test_at_most_so_many_coordinates_are_looked_at_evenly():
    g = torch.zeros(3, 40000)
    g[2, ::2] = 1.0  # every second coordinate: the Byzantine row is highest
    g[2, 1::2] = -1.0
    g[1] = 2.0  # rows 0, 2: so the median is the Byzantine value where that is 1
    assert byzantine_coordinates(Updates(g), 2, limit=40000) == pytest.approx(0.5)
    # Every 3rd coordinate, a step that does not divide a chunk: the grid must go on across it.
    h = torch.full((3, 40000), -1.0)
    h[0], h[1] = 0.0, 2.0
    h[2, ::3] = 1.0
    assert byzantine_coordinates(Updates(h), 2, limit=13334) == 1.0
    # Every 8th coordinate is even: all of them, across the chunks, show the Byzantine value.
    assert byzantine_coordinates(Updates(g), 2, limit=5000) == 1.0


def test_impossible_counts_are_refused():
    updates = Updates(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="Expected weights of shape"):
        selection(torch.ones(3), 4)
    for h, trim in ((5, 0), (3, 2), (3, -1)):
        with pytest.raises(ValueError, match="2 trim < m"):
            byzantine_coordinates(updates, h, trim)


def test_a_rule_states_how_many_values_it_cuts():
    rows = Updates(torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]]))
    assert kept_coordinates(median, rows, 2, 2) == {"byzantine_coordinates": 1.0}
    assert kept_coordinates(trimmed_mean, rows, 2, 1) == {"byzantine_coordinates": 2 / 3}
    assert kept_coordinates(trimmed_mean(trim=0), rows, 2, 1) == {"byzantine_coordinates": 3 / 5}
    assert kept_coordinates(trimmed_mean(trim=9), rows, 3, 1) == {"byzantine_coordinates": 0.0}
    assert kept_coordinates(multi_krum, rows, 2, 1) == {}
