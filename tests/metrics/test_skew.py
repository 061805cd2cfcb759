import math

import numpy as np
import pytest
import torch

from fl_platform.core import Updates, generator
from fl_platform.metrics import gaussian_rho, skew, skew_null
from fl_platform.metrics.skew import NAMES, fisher, pearson, sign_flip
from tests import reference_attacks as reference


def updates(g, dtype=torch.float64):
    return Updates(torch.tensor(g, dtype=dtype))


def dirichlet(h=40, d=2000, concentration=0.1, seed=0):
    draw = np.random.default_rng(seed)
    return draw.dirichlet([concentration] * 10, size=h) @ draw.normal(size=(10, d))


def slowly(g, f):
    """Every measure from its definition, in NumPy."""
    h, mean, median = len(g), g.mean(0), np.median(g, 0)
    e = g - mean
    variance = (e**2).sum(1).mean()
    u = median - mean
    p = e @ (u / np.linalg.norm(u))
    left, values, right = np.linalg.svd(e, full_matrices=False)
    scores = left[:, 0] * (1 if right[0] @ u > 0 else -1)
    s = g[reference.skewed_set(g, h - f)]
    centre = s.mean(0)
    _, alpha = reference.hide(g, reference.skewed_set(g, h - f))
    hidden = centre + alpha * np.sign(centre - mean) * s.std(0)
    union = np.vstack([s, np.tile(hidden, (f, 1))])
    pairs = [(e[i] @ e[j]) ** 3 for i in range(h) for j in range(h) if i != j]

    def third(x):
        return ((x - x.mean()) ** 3).mean() / x.std() ** 3

    return {
        "rho": np.linalg.norm(u) / math.sqrt(variance),
        "sk2": 3 * (p.mean() - np.median(p)) / p.std(),
        "gamma1": third(p),
        "mode_share": (p > 0).mean(),
        "pc1_gamma1": third(scores),
        "pc1_share": values[0] ** 2 / (values**2).sum(),
        "t3": sum(pairs) / (h * (h - 1)) / variance**3,
        "variance_ratio": ((s - centre) ** 2).sum(1).mean() / variance,
        "diameter_ratio": reference.diameter(s) / reference.diameter(g),
        "shift": np.linalg.norm(centre - mean) / math.sqrt(variance),
        "alpha": alpha,
        "union_shift": np.linalg.norm(union.mean(0) - mean) / math.sqrt(variance),
        "union_variance_ratio": ((union - union.mean(0)) ** 2).sum(1).mean() / variance,
    }


@pytest.mark.parametrize(("h", "f"), [(9, 2), (10, 3), (5, 4)])
def test_every_measure_equals_its_definition(h, f):
    g = np.random.default_rng(h).exponential(size=(h, 14)) + 3
    found, expected = skew(updates(g), f), slowly(g, f)
    assert tuple(found) == NAMES
    for name in NAMES:
        assert found[name] == pytest.approx(expected[name], abs=1e-8), name


def test_measures_do_not_change_under_translation_scale_and_order():
    g = np.random.default_rng(1).exponential(size=(9, 14))
    plain = skew(updates(g), 2)
    for other in (5 * g + 2, g[::-1].copy()):
        moved = skew(updates(other), 2)
        assert moved == pytest.approx(plain, abs=1e-8)
    # Negative control: stretching one coordinate is no similarity.
    assert skew(updates(g * ([9.0] + [1.0] * 13)), 2)["rho"] != pytest.approx(plain["rho"])


def test_float32_agrees_with_float64():
    g = dirichlet()
    exact, close = skew(updates(g), 10), skew(updates(g, torch.float32), 10)
    assert close == pytest.approx(exact, rel=1e-3, abs=1e-4)


def test_numbers_by_hand():
    # 0, 0, 0, 4: mean 1, median 0, V 3; S the three zeros, all at one point.
    found = skew(updates([[0.0], [0.0], [0.0], [4.0]]), 1)
    assert found["rho"] == pytest.approx(1 / math.sqrt(3))
    assert found["sk2"] == pytest.approx(-math.sqrt(3))
    assert found["gamma1"] == pytest.approx(-6 / 3**1.5)
    assert found["mode_share"] == 0.75
    assert found["variance_ratio"] == found["diameter_ratio"] == found["alpha"] == 0.0
    assert found["shift"] == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize("h", [1, 4])
def test_rows_that_do_not_differ_have_no_skew(h):
    assert set(skew(updates(np.ones((h, 3))), 1).values()) == {0.0}


def test_rows_that_are_not_finite_give_nan_and_no_error():
    g = np.ones((5, 3))
    g[1, 1] = np.nan
    assert all(math.isnan(value) for value in skew(updates(g), 1).values())


def test_gaussian_rows_show_the_gaussian_rho():
    g = np.random.default_rng(0).normal(size=(40, 20000))
    assert skew(updates(g), 10)["rho"] == pytest.approx(gaussian_rho(40), rel=0.05)
    assert gaussian_rho(40) == pytest.approx(0.1195, abs=1e-4)


def test_the_null_finds_skew_in_skewed_rows_and_none_in_symmetric_ones():
    skewed = skew_null(updates(dirichlet()), 10, seed=0, index=3, draws=12)
    assert skewed["rho_z"] > 3
    assert skewed["t3_z"] > 3
    normal = np.random.default_rng(0).normal(size=(40, 10)) @ np.random.default_rng(1).normal(
        size=(10, 2000)
    )
    symmetric = skew_null(updates(normal), 10, seed=0, index=3, draws=12)
    assert abs(symmetric["rho_z"]) < 3
    # Without the null even symmetric rows would look skewed along a direction they chose.
    assert symmetric["sk2_null"] < -0.15


def test_the_null_repeats_and_changes_with_round_and_seed():
    honest = updates(dirichlet(h=8, d=50))
    first = skew_null(honest, 2, seed=0, index=3, draws=4)
    assert skew_null(honest, 2, seed=0, index=3, draws=4) == first
    assert skew_null(honest, 2, seed=0, index=4, draws=4) != first
    assert skew_null(honest, 2, seed=1, index=3, draws=4) != first


def test_sign_flips_reflect_rows_at_the_mean():
    g = np.random.default_rng(2).normal(size=(6, 4))
    mixing = sign_flip(6, generator(0, "test")).numpy()
    flipped = mixing @ g
    mean = g.mean(0)
    signs = [1 if np.allclose(new, old) else -1 for new, old in zip(flipped, g, strict=True)]
    np.testing.assert_allclose(flipped, mean + np.array(signs)[:, None] * (g - mean))
    assert set(signs) == {1, -1}


def test_one_draw_has_no_spread():
    with pytest.raises(ValueError, match="Expected draws >= 2, got 1"):
        skew_null(updates(dirichlet(h=4, d=4)), 1, seed=0, index=0, draws=1)


def test_scalar_skewness_of_constants_and_mirrors():
    p = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    assert pearson(p) == pytest.approx(-pearson(-p))
    assert fisher(p) == pytest.approx(-fisher(-p))
    assert fisher(p) > 0
    assert pearson(p) > 0
    assert pearson(torch.ones(3)) == fisher(torch.ones(3)) == 0.0


def test_what_strike_found_is_remembered_and_never_keeps_the_updates_alive():
    import gc

    from fl_platform.attacks import strike
    from fl_platform.metrics import skewed_set as skewed

    honest = updates(dirichlet(h=8, d=50))
    strike(honest, 2)
    before = skewed.skewed(honest, 6)
    skew(honest, 2)
    assert skewed.skewed(honest, 6) is before
    assert skewed.skewed(honest, 5) is not before
    gc.collect()  # what earlier tests left
    held = len(skewed._found)
    del honest
    gc.collect()
    assert len(skewed._found) == held - 1
