import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.attacks import strike
from fl_platform.attacks.strike import hidden_row, strength
from fl_platform.core import Updates
from fl_platform.metrics.skewed_set import hiding_space, highest, search_direction, skewed_size
from tests import reference_attacks as reference

SHAPES = [(40, 10), (8, 2), (7, 3), (6, 4), (22, 7), (39, 8)]


def rows(h, d=60, seed=0, kind="exponential"):
    draw = np.random.default_rng(seed)
    if kind == "normal":
        return draw.normal(size=(h, d))
    if kind == "offset":
        return draw.exponential(size=(h, d)) + 1e3
    if kind == "low_rank":
        return draw.dirichlet([0.3] * 5, size=h) @ draw.normal(size=(5, d))
    return draw.exponential(size=(h, d))


def attack(g, f, dtype=torch.float64, **config):
    return strike(Updates(torch.tensor(g, dtype=dtype)), f, **config)


def chosen_of(g, f):
    return reference.skewed_set(g, len(g) - f)


@pytest.mark.parametrize("kind", ["exponential", "normal", "low_rank", "offset"])
@pytest.mark.parametrize(("h", "f"), SHAPES)
def test_closed_form_equals_plain_bisection_over_the_rows(h, f, kind):
    g = rows(h, seed=h + f, kind=kind)
    spread = g.std(0).max()
    np.testing.assert_allclose(attack(g, f)[0], reference.strike(g, f), atol=1e-8 * spread)


@pytest.mark.parametrize(("h", "f"), SHAPES)
def test_bisection_of_the_paper_lies_within_its_tolerance_below_the_closed_form(h, f):
    honest = Updates(torch.tensor(rows(h, seed=3)))
    index = highest(honest.project(search_direction(honest)), h - f)
    space = hiding_space(honest, index)
    gap = strength(space, "closed") - strength(space, "bisection")
    assert 0 <= gap <= 1e-5


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 14), st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([0.5, 1.0]))
def test_strike_stays_within_the_skewed_diameter(h, f, seed, nu):
    f = min(f, h - 1)
    g = rows(h, d=23, seed=seed, kind="low_rank")
    s = g[chosen_of(g, f)]
    row = attack(g, f, nu=nu)[0].numpy()
    farthest = np.linalg.norm(s - row, axis=1).max()
    assert farthest <= reference.diameter(s) * (1 + 1e-9)


def test_the_diameter_is_reached_at_nu_1_and_left_above_it():
    g = rows(12, seed=5)
    s = g[chosen_of(g, 3)]

    def reach(nu):
        return np.linalg.norm(s - attack(g, 3, nu=nu)[0].numpy(), axis=1).max()

    assert reach(1.0) == pytest.approx(reference.diameter(s), rel=1e-9)
    assert reach(1.1) > reference.diameter(s) * 1.001


def test_numbers_by_hand():
    # h = 4, f = 1: mean 3, median 1.5, u = -1.5, so S = {0, 1, 2}: centre 1, std sqrt(2/3),
    # sign(1 - 3) = -1. The farthest row is 2, the diameter 2: g_b = 1 - a std = 0.
    g = np.array([[0.0], [1.0], [2.0], [9.0]])
    assert attack(g, 1).tolist() == [[pytest.approx(0.0, abs=1e-12)]]
    assert attack(g, 1, nu=2.0).tolist() == [[pytest.approx(-1.0)]]


def test_float32_agrees_with_float64():
    g = rows(40, d=20000, seed=1)
    exact = attack(g, 10)[0]
    close = attack(g, 10, torch.float32)[0].double()
    # Near-ties of a projection may fall otherwise in float32; with this seed they do not.
    assert (close - exact).norm() <= 1e-5 * exact.norm()


def test_a_common_offset_leaves_the_strength_alone_in_float32():
    g = rows(40, d=2000, seed=2)

    def alpha(shift):
        honest = Updates(torch.tensor(g + shift, dtype=torch.float32))
        index = highest(honest.project(search_direction(honest)), 30)
        return strength(hiding_space(honest, index))

    # An offset of 1000 rounds each number to 6e-5, which turns the sign of a coordinate or two
    # whose means nearly agree; uncentred float32 distances would move alpha by 40 %.
    assert alpha(1000.0) == pytest.approx(alpha(0.0), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
def test_translation_scale_and_permutation_carry_over(seed, scale, offset):
    g = rows(11, d=17, seed=seed)
    plain = attack(g, 3)[0].numpy()
    moved = attack(scale * g + offset, 3)[0].numpy()
    np.testing.assert_allclose(moved, scale * plain + offset, atol=1e-7 * (scale + abs(offset)))
    shuffled = attack(np.random.default_rng(seed).permutation(g), 3)[0].numpy()
    np.testing.assert_allclose(shuffled, plain, atol=1e-9)


def test_negation_carries_over_for_the_midpoint_but_not_for_the_lower_median():
    g = rows(8, d=2, seed=11, kind="normal")
    np.testing.assert_allclose(attack(-g, 2)[0], -attack(g, 2)[0], atol=1e-12)
    many = [rows(8, d=5, seed=seed, kind="normal") for seed in range(20)]
    differs = [
        not np.allclose(attack(-g, 3, median="lower")[0], -attack(g, 3, median="lower")[0])
        for g in many
    ]
    assert any(differs)
    for g in many:
        lower = attack(-g, 3, median="lower")[0]
        np.testing.assert_allclose(lower, -attack(g, 3, median="upper")[0], atol=1e-9)


@pytest.mark.parametrize("h", [1, 2, 3])
def test_where_byzantine_rows_are_a_majority_single_sends_the_most_skewed_row(h):
    g = rows(h, d=6, seed=4)
    sent = attack(g, 3)
    assert sent.shape == (3, 6)
    best = reference.skewed_set(g, 1)[0]
    np.testing.assert_allclose(sent[0], g[best], atol=1e-12)


def test_where_byzantine_rows_are_a_majority_push_is_the_official_codes():
    g = rows(3, d=6, seed=4)
    far = g.mean(0) + 10 * (np.median(g, 0) - g.mean(0))
    np.testing.assert_allclose(attack(g, 3, outnumbered="push")[0], far, atol=1e-12)
    np.testing.assert_allclose(attack(g[:1], 3, outnumbered="push")[0], -10 * g[0])


def test_integer_set_size_is_h_minus_f_where_the_official_truncation_falls_short():
    assert skewed_size(22, 7) == 15
    assert int((22 - 7) / 22 * 22) == 14  # what the official code computes
    assert skewed_size(40, 10) == 30
    assert skewed_size(3, 5) == 1
    assert skewed_size(10, 10, share=0.75) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rows_are_copied(dtype):
    g = torch.full((6, 4), 0.1, dtype=dtype)
    sent = strike(Updates(g), 2)
    assert torch.allclose(sent, g[:2])


def test_all_rows_known_as_skewed_leaves_the_direction_of_the_search():
    g = rows(9, d=7, seed=8)
    sent = attack(g, 3, share=1.0)[0].numpy()
    u = np.median(g, 0) - g.mean(0)
    assert (np.sign(sent - g.mean(0)) == np.sign(u)).all()


def test_a_set_without_any_way_gives_strength_zero():
    honest = Updates(torch.tensor([[1.0], [1.0], [4.0]]))
    space = hiding_space(honest, torch.tensor([0, 1]))
    assert strength(space, "closed") == 0.0
    assert strength(space, "bisection") == 0.0
    assert hidden_row(space).tolist() == [1.0]


def test_alpha_never_passes_its_bound():
    for seed in range(10):
        honest = Updates(torch.tensor(rows(12, seed=seed, kind="low_rank")))
        space = hiding_space(honest, highest(honest.project(search_direction(honest)), 9))
        spread = float(space.offsets_sq.mean())
        assert (
            strength(space) <= math.sqrt((space.diameter_sq - spread) / space.direction_sq) + 1e-9
        )


def test_wrong_names_are_refused():
    g = rows(8)
    with pytest.raises(ValueError, match="Expected search"):
        attack(g, 2, search="newton")
    with pytest.raises(ValueError, match="Expected median"):
        attack(g, 2, median="mean")
