import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.isotonic import isotonic_regression

from fl_platform import defenses
from fl_platform.core import Updates
from fl_platform.metrics import empirical_kappa, kappa_bound, kappa_floor, nnm_kappa


def kappa_of(g, chosen, aggregate):
    rows = g[list(chosen)]
    off = ((aggregate - rows.mean(0)) ** 2).sum()
    return off / ((rows - rows.mean(0)) ** 2).sum(1).mean()


def rows(n=9, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("seed", range(4))
def test_kappa_equals_its_definition_and_the_worst_is_nearly_found(seed):
    g = rows(seed=seed)
    aggregate = np.median(g, 0) + 0.1
    found = empirical_kappa(Updates(torch.tensor(g)), torch.tensor(aggregate), 6)
    every = [kappa_of(g, c, aggregate) for c in itertools.combinations(range(9), 6)]
    assert found["kappa"] == pytest.approx(kappa_of(g, range(6), aggregate))
    assert found["kappa"] <= found["kappa_worst"] <= max(every) * (1 + 1e-9)
    # Exchanges need not reach the worst set, but these small ones they do.
    assert found["kappa_worst"] == pytest.approx(max(every))


def test_kappa_worst_is_reached_by_some_set_even_without_exchanges():
    g = rows()
    aggregate = g[0]
    found = empirical_kappa(Updates(torch.tensor(g)), torch.tensor(aggregate), 7, swaps=0)
    every = [kappa_of(g, c, aggregate) for c in itertools.combinations(range(9), 7)]
    assert min(abs(found["kappa_worst"] - one) for one in every) < 1e-9


def test_float32_and_a_common_offset_keep_four_digits():
    g = rows(20, 5000)
    aggregate = g[:12].mean(0) + 0.3
    exact = empirical_kappa(Updates(torch.tensor(g)), torch.tensor(aggregate), 15)
    close = empirical_kappa(
        Updates(torch.tensor(g + 50, dtype=torch.float32)),
        torch.tensor(aggregate + 50, dtype=torch.float32),
        15,
    )
    assert close == pytest.approx(exact, rel=1e-4)


def test_the_mean_of_equal_rows_asks_for_nothing_and_anything_else_for_all():
    same = Updates(torch.ones(4, 2))
    assert empirical_kappa(same, torch.ones(2), 3)["kappa_worst"] == 0.0
    assert empirical_kappa(same, torch.zeros(2), 3)["kappa"] == math.inf


def test_all_rows_honest_leaves_one_set():
    g = rows(5)
    found = empirical_kappa(Updates(torch.tensor(g)), torch.tensor(g[0]), 5)
    assert list(found.values()) == pytest.approx([kappa_of(g, range(5), g[0])] * 2)


def worst_case(weights, n, f):
    """sup of |L-statistic - honest mean|^2 / variance, and honest values that attain it.

    A coordinate-wise rule is monotone, so k Byzantine values belong at -inf and f - k at +inf;
    what is left is a weighted sum of the sorted honest values, whose supremum over unit
    variance is h times the squared length of the projection on rising sequences.
    """
    h, best = n - f, (0.0, np.zeros(n - f))
    for below in range(f + 1):
        c = weights[below : below + h]
        for sign in (1, -1):
            rising = isotonic_regression(sign * (c - 1 / h))
            value = h * float((rising**2).sum())
            if value > best[0]:
                best = (value, sign * rising)
    return best[0]


def trimmed(n, f):
    w = np.zeros(n)
    w[f : n - f] = 1 / (n - 2 * f)
    return w


def middle(n, lower):
    w = np.zeros(n)
    w[(n - 1) // 2] += 0.5
    w[(n - 1) // 2 if lower else n // 2] += 0.5
    return w


@pytest.mark.parametrize(("n", "f"), [(50, 10), (11, 2), (10, 3), (9, 4), (20, 0), (21, 0)])
def test_exact_constants_are_the_suprema_over_all_honest_values(n, f):
    bound = kappa_bound(defenses.trimmed_mean, n, f)
    assert bound == pytest.approx(worst_case(trimmed(n, f), n, f))
    for rule, lower in ((defenses.median, False), (defenses.median(kind="lower"), True)):
        expected = worst_case(middle(n, lower), n, f)
        assert kappa_bound(rule, n, f) == pytest.approx(expected), rule


def test_the_trimmed_means_constant_is_attained():
    # f honest values at 0, the rest at 1, f Byzantine at +inf: the cut takes the zeros.
    n, f = 10, 2
    honest = np.array([0.0] * f + [1.0] * (n - 2 * f))[:, None]
    received = np.vstack([honest, np.full((f, 1), 1e6)])
    cut = np.sort(received, 0)[f : n - f].mean(0)
    found = empirical_kappa(Updates(torch.tensor(received)), torch.tensor(cut), n - f)
    assert found["kappa"] == pytest.approx(kappa_bound(defenses.trimmed_mean, n, f))
    assert found["kappa"] == pytest.approx(kappa_floor(n, f))


def test_the_published_table_at_fifty_clients():
    expected = [
        (defenses.trimmed_mean, 1 / 3),
        (defenses.median(kind="lower"), 5 / 3),
        (defenses.median, 1.5),
        (defenses.krum, 8.0392),
        (defenses.krum(neighbors="n-f-1"), 7.7712),
        (defenses.multi_krum, 8.0392),
        (defenses.multi_krum(neighbors="n-f-1", averaged=3), 7.7712),
        (defenses.aksel, 13.874),
        (defenses.aksel(center="lower"), 15.0),
        (defenses.mda, 20),
    ]
    for rule, value in expected:
        assert kappa_bound(rule, 50, 10) == pytest.approx(value, rel=1e-3), rule
    for rule in (defenses.mean, defenses.dnc(), defenses.centered_clipping()):
        assert kappa_bound(rule, 50, 10) == math.inf
    unknown = [
        defenses.bulyan,
        defenses.trimmed_mean(trim=3),
        defenses.krum(distance_power=1),
        defenses.multi_krum(averaged=45),
        defenses.aksel(keep="n-f"),
        lambda updates, num_byzantine: None,
    ]
    assert [kappa_bound(rule, 50, 10) for rule in unknown] == [None] * len(unknown)
    assert nnm_kappa(1 / 3, 50, 10) == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    "rule",
    [
        defenses.trimmed_mean,
        defenses.median,
        defenses.median(kind="lower"),
        defenses.krum,
        defenses.multi_krum,
        defenses.aksel,
    ],
)
def test_no_constant_lies_below_the_floor(rule):
    for n in range(3, 30):
        for f in range((n + 1) // 2):
            assert kappa_bound(rule, n, f) >= kappa_floor(n, f) - 1e-12


def test_impossible_questions_are_refused():
    g = Updates(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="Expected an aggregate"):
        empirical_kappa(g, torch.zeros(3), 3)
    with pytest.raises(ValueError, match="num_honest=0"):
        empirical_kappa(g, torch.zeros(2), 0)
    with pytest.raises(ValueError, match="Expected 0 <= f < n / 2, got n=10 and f=5"):
        kappa_bound(defenses.krum, 10, 5)
