import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.attacks import min_max, min_sum
from fl_platform.core import Updates
from tests import reference_attacks as reference


def rows(h, d=30, seed=0):
    return np.random.default_rng(seed).exponential(size=(h, d)) - 0.5


def updates(g, dtype=torch.float64):
    return Updates(torch.tensor(g, dtype=dtype))


@pytest.mark.parametrize("kind", ["std", "sign", "unit"])
@pytest.mark.parametrize("h", [2, 5, 20])
def test_closed_forms_equal_plain_bisection_over_the_rows(kind, h):
    g = rows(h, seed=h)
    sent = min_max(updates(g), 2, deviation=kind, side="below")[1]
    np.testing.assert_allclose(sent, reference.min_max(g, kind), atol=1e-9)
    for bound in ("largest", "smallest"):
        expected = reference.min_sum(g, kind, bound == "smallest")
        ours = min_sum(updates(g), 2, deviation=kind, side="below", bound=bound)[0]
        np.testing.assert_allclose(ours, expected, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from(["std", "sign", "unit"]))
def test_min_max_reaches_the_honest_diameter_and_stays_within(h, seed, kind):
    g = rows(h, seed=seed)
    row = min_max(updates(g), 1, deviation=kind)[0].numpy()
    farthest = np.linalg.norm(g - row, axis=1).max()
    assert farthest == pytest.approx(reference.diameter(g), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from(["std", "sign", "unit"]))
def test_min_sum_lands_at_the_largest_honest_distance_from_the_mean(h, seed, kind):
    g = rows(h, seed=seed)
    row = min_sum(updates(g), 1, deviation=kind)[0].numpy()
    radius = np.linalg.norm(g - g.mean(0), axis=1).max()
    assert np.linalg.norm(row - g.mean(0)) == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_halving_ends_within_its_tolerance_of_the_closed_form(attack):
    g = rows(15, seed=2)
    length = np.linalg.norm(g.std(0))
    gap = attack(updates(g), 1, search="halving")[0] - attack(updates(g), 1)[0]
    assert 0 < float(gap.norm()) <= 2e-5 * length


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_halving_never_passes_twenty_where_the_closed_form_does(attack):
    g = 100 * rows(15, seed=2)  # unit way: strengths are distances, far above 20
    mean = g.mean(0)
    halved = attack(updates(g), 1, deviation="unit", search="halving")[0].numpy()
    closed = attack(updates(g), 1, deviation="unit")[0].numpy()
    assert np.linalg.norm(halved - mean) <= 20
    assert np.linalg.norm(closed - mean) > 100


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_above_mirrors_below_on_negated_updates(attack):
    g = rows(9)
    below = attack(updates(-g), 2, side="below")[0]
    np.testing.assert_allclose(attack(updates(g), 2, side="above")[0], -below, atol=1e-12)
    assert not np.allclose(attack(updates(g), 2, side="below")[0], -below)


@pytest.mark.parametrize("attack", [min_max, min_sum])
@pytest.mark.parametrize(("kind", "side"), [("std", "above"), ("sign", "below"), ("unit", "below")])
def test_the_default_is_the_harmful_side_of_each_deviation(attack, kind, side):
    g = rows(9)
    default = attack(updates(g), 2, deviation=kind)
    assert torch.equal(default, attack(updates(g), 2, deviation=kind, side=side))
    if kind != "std":  # a step back: no farther along the honest mean than that mean
        mean = torch.tensor(g.mean(0))
        assert float((default[0] - mean) @ mean) < 0


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_translation_and_scale_carry_over_for_std(attack):
    g = rows(9)
    plain = attack(updates(g), 2)[0]
    np.testing.assert_allclose(attack(updates(3 * g + 7), 2)[0], 3 * plain + 7, atol=1e-10)
    # Negative control: the sign of the mean does not survive a translation.
    plain = attack(updates(g), 2, deviation="sign")[0]
    moved = attack(updates(g - 7), 2, deviation="sign")[0]
    assert not np.allclose(moved, plain - 7)


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_equal_rows_and_a_zero_mean_leave_the_mean(attack):
    same = torch.ones(4, 3)
    assert torch.allclose(attack(Updates(same), 2), same[:2])
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert attack(Updates(opposite), 1, deviation="unit").tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_rows_that_are_not_finite_do_not_end_the_run(attack):
    g = torch.randn(6, 4)
    g[2, 1] = float("nan")
    assert attack(Updates(g), 2).shape == (2, 4)


def test_numbers_by_hand():
    g = np.array([[0.0], [2.0]])  # mean 1, std 1, diameter 2: from 2 down by 2
    assert min_max(updates(g), 1, side="below").tolist() == [[0.0]]
    assert min_sum(updates(g), 1, side="above").tolist() == [[2.0]]


def test_wrong_names_are_refused():
    honest = updates(rows(4))
    with pytest.raises(ValueError, match="Expected deviation"):
        min_max(honest, 1, deviation="variance")
    with pytest.raises(ValueError, match="Expected search"):
        min_max(honest, 1, search="newton")
    with pytest.raises(ValueError, match="Expected search"):
        min_sum(honest, 1, search="newton")
    with pytest.raises(ValueError, match="Expected bound"):
        min_sum(honest, 1, bound="middle")
