"""Rules that were made for the arena: what they compute, what is proved of them, what is not."""

import itertools
import math

import numpy as np
import pytest
import torch

from fl_platform import defenses
from fl_platform.core import Updates
from fl_platform.defenses import Chain, crowding, spectral_filter, trimmed_mean, unit_rows


def rows(seed, n=9, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


def filtered(given, f, center):
    """The filter from singular vectors of the rows themselves."""
    left = list(range(len(given)))
    for _ in range(f):
        part = given[left] - given[left].mean(0)
        along = part @ np.linalg.svd(part)[2][0]
        middle = np.sort(along)[(len(along) - 1) // 2] if center == "median" else along.mean()
        upper = np.sort(along)[len(along) // 2]
        far = np.abs(along - middle).argmax()
        if center == "median" and upper != middle:  # the sign of a singular vector is free
            return None
        del left[far]
    return given[left].mean(0)


@pytest.mark.parametrize("center", ["median", "mean"])
@pytest.mark.parametrize("seed", range(6))
def test_the_filter_removes_one_row_along_each_direction(center, seed):
    given = rows(seed)
    expected = filtered(given.numpy(), 1, center)
    assert expected is not None
    result = spectral_filter(given, 1, center=center)
    np.testing.assert_allclose(result.vector, expected, atol=1e-12)
    for f in (2, 3, 4):
        result = spectral_filter(given, f, center=center)
        assert int((result.weights > 0).sum()) == len(given) - f
        torch.testing.assert_close(result.weights @ given, result.vector)


def worst_ratio(rule, given, f):
    """The largest squared error over the variance of a subset of n - f rows, over all subsets."""
    answer, ratios = rule(given, f).vector, []
    for members in itertools.combinations(range(len(given)), len(given) - f):
        honest = given[list(members)]
        variance = (honest - honest.mean(0)).square().sum(1).mean()
        ratios.append(float((answer - honest.mean(0)).square().sum() / variance))
    return max(ratios)


def hostile(seed, n, f):
    """Honest rows and Byzantine ones at all kinds of distances, some equal."""
    given = rows(seed, n)
    given[: n - f] += torch.tensor([3.0, 0, 0, 0]) * (seed % 3)
    push = 10.0 ** ((seed % 7) - 3) * rows(seed + 1000, f)
    given[n - f :] = given[: n - f].mean(0) + (push if seed % 2 else push[:1])
    return given


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("n", "f"), [(9, 2), (8, 3)])
def test_kappa_of_the_filter_holds(seed, n, f):
    kappa = spectral_filter.facts.kappa(n, f)
    assert math.isfinite(kappa)
    assert worst_ratio(spectral_filter, hostile(seed, n, f), f) <= kappa


@pytest.mark.parametrize("seed", range(40))
def test_unit_rows_keep_a_finite_kappa(seed):
    n, f = 9, 2
    own = f / (n - 2 * f)  # trimmed_mean's
    share = 1 + (n - f) / (math.ceil(n / 2) - f)
    kappa = (math.sqrt(own) + (1 + math.sqrt(own)) * math.sqrt(share)) ** 2
    assert worst_ratio(Chain(trimmed_mean, [unit_rows]), hostile(seed, n, f), f) <= kappa


def test_colluders_on_two_directions_escape_dnc_and_not_the_filter():
    """DnC sees the far half alone and fills up with honest rows; the filter sees both."""
    honest = torch.zeros(40, 60).double()
    colluders = torch.zeros(10, 60).double()
    colluders[:5, 0], colluders[5:, :2] = 1000, 1
    given = torch.cat([colluders, honest])
    assert not spectral_filter(given, 10).vector.any()
    assert float(defenses.dnc(coordinates=10**6)(given, 10).vector[1]) > 0.1


@pytest.mark.parametrize("f", [1, 3])
def test_crowding_has_no_finite_kappa(f):
    """Equal honest rows near the origin and colluders a little aside: the answer is not theirs."""
    honest = torch.ones(20, 6).double()
    colluders = torch.eye(6).double()[:f] + 1
    given = torch.cat([honest, colluders])
    weights = crowding(given, 0).weights
    assert float(weights[-1]) > 1 / len(given)  # a row that few are like counts more than it should


def test_crowding_lets_equal_rows_share_their_weight():
    given = torch.cat([rows(3, 12, 400), rows(4, 1, 400).expand(4, -1)])
    weights = crowding(given, 0).weights
    assert float(weights[-1]) == pytest.approx(float(weights[:12].mean()) / 4, rel=0.1)
    plain = crowding(given, 2, power=0).weights
    assert sorted(set(plain.tolist())) == pytest.approx([0, 1 / 14])


def test_unit_rows_have_the_median_length_and_zero_stays_zero():
    given = rows(0, 7) * torch.arange(7.0).double()[:, None]
    scaled = Updates(given).scaled(unit_rows(given, 2))
    middle = given.norm(dim=1).sort().values[3]
    torch.testing.assert_close(scaled.matrix[1:].norm(dim=1), middle.expand(6))
    assert not scaled.matrix[0].any()


def test_dnc_on_unit_rows_forms_no_second_gram():
    given = rows(1, 20, 50)
    chain = Chain(defenses.dnc(coordinates=10**6), [unit_rows])
    scaled = Updates(given).scaled(unit_rows(given, 4)).matrix
    torch.testing.assert_close(
        chain(given, 4).vector, defenses.dnc(coordinates=10**6)(scaled, 4).vector
    )
    result = chain(given, 4)
    torch.testing.assert_close(result.weights @ given, result.vector)
