"""Small numbers worked out by hand, one or two a rule: what the formula says, readably."""

import math

import pytest
import torch
from torch import Tensor

from fl_platform.core import Updates
from fl_platform.defenses import (
    Bucketing,
    CenteredClipping,
    DnC,
    aksel,
    bulyan,
    krum,
    mda,
    mean,
    median,
    multi_krum,
    nnm,
    rfa,
    trimmed_mean,
)
from fl_platform.defenses.mixing import buckets


def line(*values: float) -> Updates:
    return Updates(torch.tensor(values, dtype=torch.float64)[:, None])


def test_mean_by_data_weighs_by_samples() -> None:
    by_data = mean(line(0, 1, 4), 0, torch.tensor([1, 1, 2]), weighting="data")
    assert by_data.vector.item() == 2.25
    assert mean(line(0, 1, 4), 0).vector.item() == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    "sizes", [None, torch.tensor([1, 2]), torch.tensor([1, -1, 1]), torch.zeros(3)]
)
def test_mean_by_data_needs_usable_sizes(sizes: Tensor | None) -> None:
    with pytest.raises(ValueError, match="Expected 3 numbers of samples"):
        mean(line(0, 1, 4), 0, sizes, weighting="data")


def test_median_of_four_is_between_or_the_lower() -> None:
    assert median(line(4, 1, 3, 2), 1).vector.item() == 2.5
    assert median(line(4, 1, 3, 2), 1, kind="lower").vector.item() == 2
    assert median(line(4, 1, 3, 2), 1, kind="upper").vector.item() == 3


def test_trimmed_mean_drops_f_at_each_end() -> None:
    assert trimmed_mean(line(-100, 1, 2, 6, 100), 1).vector.item() == 3
    assert trimmed_mean(line(-100, 1, 2, 6, 100), 1, trim=2).vector.item() == 2
    # A fixed number that would leave nothing is lowered until a row is left.
    assert trimmed_mean(line(1, 2, 9), 0, trim=5).vector.item() == 2


def test_krum_counts_the_neighbours_it_says() -> None:
    # n = 7, f = 1: four neighbours or five. Squared sums of four: 30, 15, 10, 15, 30, ...
    rows = line(0, 1, 2, 3, 4, 50, 60)
    assert krum(rows, 1).vector.item() == 2
    kept = multi_krum(rows, 1, averaged=3)
    assert kept.weights is not None
    assert kept.weights.nonzero().flatten().tolist() == [1, 2, 3]


def test_krum_gives_mutual_neighbours_to_the_more_central() -> None:
    # n = 3, f = 0: one neighbour, so 0 and 1 tie, whichever comes first; 1 is nearer to 10.
    assert multi_krum(line(0, 1, 10), 0, averaged=1).vector.item() == 1
    assert multi_krum(line(1, 0, 10), 0, averaged=1).vector.item() == 1


def test_rfa_smooths_by_eps_itself_where_its_unit_is_one() -> None:
    rows = torch.tensor([[0.01, 0.0], [0.0, 0.02], [3.0, 4.0]], dtype=torch.float64)
    z = torch.zeros(2, dtype=torch.float64)
    for _ in range(3):  # written out: weights 1 / max(distance, eps) from zero on
        closeness = 1 / (rows - z).norm(dim=1).clamp_min(0.1)
        z = (closeness / closeness.sum()) @ rows
    found = rfa(Updates(rows), 0, start="zero", iterations=3, eps=0.1, unit="one")
    torch.testing.assert_close(found.vector, z)
    relative = rfa(Updates(rows), 0, start="zero", iterations=3, eps=0.1)
    assert not torch.allclose(relative.vector, z, atol=1e-3)
    with pytest.raises(ValueError, match="unit as spread or one"):
        rfa(Updates(rows), 0, unit="two")


def test_rfa_finds_the_geometric_median_of_a_triangle() -> None:
    corners = [[math.cos(angle), math.sin(angle)] for angle in (0, 2.0943951, 4.1887902)]
    rows = Updates(torch.tensor(corners, dtype=torch.float64) + 7)
    # The Fermat point of an equilateral triangle is its centre.
    torch.testing.assert_close(rfa(rows, 0).vector, torch.tensor([7.0, 7.0]).double())


def test_aksel_keeps_the_nearer_half() -> None:
    # The median is 2, the distances 4 1 0 1 49: the lower median distance 1 keeps three.
    result = aksel(line(0, 1, 2, 3, 9), 1)
    assert result.vector.item() == 2
    assert result.weights is not None
    assert result.weights.count_nonzero() == 3
    assert aksel(line(0, 1, 2, 3, 9), 1, keep="n-f").vector.item() == 1.5


def test_clipping_pulls_rows_to_tau() -> None:
    # From 0 with tau 2: (1 + 2 - 2) / 3, of which the rows' shares are 1/3, 2/9 and 1/15.
    result = CenteredClipping(tau=2.0)(line(1, 3, -10), 0)
    assert result.vector.item() == pytest.approx(1 / 3)
    assert result.anchor_weight == pytest.approx(1 - 1 / 3 - 2 / 9 - 1 / 15)


def test_dnc_drops_the_row_that_sticks_out() -> None:
    assert DnC()(line(0, 1, 2, 3, 50), 1).vector.item() == 1.5
    assert DnC(filter=2.0)(line(0, 1, 2, 3, 50), 1).weights is not None


def test_dnc_keeps_someone_however_many_iterations() -> None:
    stream = torch.Generator().manual_seed(0)
    rows = Updates(torch.randn(9, 40, generator=stream))
    # Twenty tests that each remove four of nine leave no row untouched; the least removed stay.
    result = DnC(iterations=20, coordinates=3)(rows, 4)
    assert result.weights is not None
    assert 1 <= result.weights.count_nonzero() < 5


def test_bulyan_averages_values_near_the_median() -> None:
    # f = 1, n = 7: Krum chooses 2, 3, 4, 6 and, the most central of 1, 40 and 90, also 40. Their
    # median is 4; the three nearest values are 3, 4 and 2, which is as near as 6 and lower.
    assert bulyan(line(1, 2, 3, 4, 6, 40, 90), 1).vector.item() == 3
    # The fault of averaging -|g - 4| in place of g: -(2 + 1 + 0) / 3.
    assert bulyan(line(1, 2, 3, 4, 6, 40, 90), 1, averaged="deviations").vector.item() == -1


def test_mda_takes_the_tightest_subset() -> None:
    assert mda(line(0, 1, 2, 3, 10, 11, 12), 3).vector.item() == 1.5
    # Of {0, 1, 2} and {1, 2, 3}, equally wide, the one of least squared distances, then the first.
    assert mda(line(0, 1, 2, 3, 90), 2).vector.item() == 1


def test_mda_says_how_many_cases_are_too_many() -> None:
    rows = Updates(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(ValueError, match=r"max_subsets=1,000,000 cases .* got 16,777,216 for n=50"):
        mda(rows, 24)
    assert mda(rows, 10).vector.isfinite().all()


def test_nnm_averages_the_nearest_with_or_without_self() -> None:
    rows = line(0, 1, 3, 10)
    near = (nnm(rows, 1) @ rows.matrix).flatten().tolist()
    assert near == pytest.approx([4 / 3, 4 / 3, 4 / 3, 14 / 3])
    others = (nnm(rows, 1, include_self=False) @ rows.matrix).flatten().tolist()
    assert others == pytest.approx([14 / 3, 13 / 3, 11 / 3, 4 / 3])


def test_bucketing_keeps_the_last_smaller_bucket() -> None:
    mixing = buckets(torch.tensor([4, 0, 1, 3, 2]), 2)
    assert mixing.tolist() == [
        [0.5, 0, 0, 0, 0.5],
        [0, 0.5, 0, 0.5, 0],
        [0, 0, 1, 0, 0],
    ]


def test_bucketing_says_how_many_buckets_are_byzantine() -> None:
    assert Bucketing(s=2).num_byzantine_after(23, 5) == 5
    assert Bucketing(s=2, f_after="ceil").num_byzantine_after(23, 5) == 3
    assert Bucketing(s=2).rows_after(23) == 12
