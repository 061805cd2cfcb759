import numpy as np
import pytest
from scipy import stats

from fl_platform.report.statistics import claims


def seeds(*values):
    return dict(enumerate(values))


CLEAR = {"a": seeds(40, 41, 42), "b": seeds(60, 61.1, 62), "c": seeds(70, 71.2, 72)}


def test_a_clear_lowest_is_supported_by_its_weakest_pair():
    claim = claims({"median": CLEAR})["median"]
    pairs = [
        stats.ttest_rel([40, 41, 42], other).pvalue for other in ([60, 61.1, 62], [70, 71.2, 72])
    ]
    assert claim.best == "a"
    assert claim.supported
    assert claim.p == pytest.approx(max(pairs))
    assert claim.adjusted == pytest.approx(claim.p)


def test_a_near_tie_is_not_supported():
    claim = claims({"median": CLEAR | {"b": seeds(39, 43, 41.5)}})["median"]
    assert claim.rival == "b"
    assert not claim.supported
    assert "Holm" in claim.reason


def test_the_nearest_rival_is_the_nearest_and_the_weakest_pair_decides():
    column = {"a": seeds(40, 41, 42), "near": seeds(45, 46.1, 47), "far": seeds(45, 90, 60)}
    claim = claims({"median": column})["median"]
    assert claim.rival == "near"
    assert claim.difference.mean == pytest.approx(-5.0333, abs=1e-3)
    assert claim.weakest == "far"
    assert claim.p == pytest.approx(stats.ttest_rel([40, 41, 42], [45, 90, 60]).pvalue)


def test_the_highest_is_claimed_with_the_same_statistics():
    mirrored = {name: {s: 100 - value for s, value in runs.items()} for name, runs in CLEAR.items()}
    low, high = claims({"x": CLEAR})["x"], claims({"x": mirrored}, highest=True)["x"]
    assert (high.best, high.rival, high.supported) == (low.best, low.rival, True)
    assert high.p == pytest.approx(low.p)
    assert high.difference.mean == pytest.approx(-low.difference.mean)


def test_two_seeds_support_nothing():
    column = {"a": seeds(1, 2), "b": seeds(90, 91)}
    claim = claims({"median": column})["median"]
    assert not claim.supported
    assert claim.difference is None
    assert "3 shared seeds" in claim.reason


def test_nothing_is_lower_than_an_attack_that_made_runs_diverge():
    claim = claims({"median": CLEAR}, {"median": ["c"]})["median"]
    assert not claim.supported
    assert claim.unranked == ("c",)
    assert claims({"median": CLEAR}, {"rfa": ["c"]})["median"].supported


def test_holm_runs_over_the_columns_of_a_table():
    alone = claims({"median": CLEAR})["median"]
    blurred = CLEAR | {"b": seeds(39, 43, 41.5)}
    table = claims({"median": CLEAR, "rfa": blurred, "dnc": blurred, "aksel": blurred})
    assert table["median"].adjusted == pytest.approx(4 * alone.p)


def test_a_lowest_mean_that_shared_seeds_contradict_is_not_supported():
    column = {"a": seeds(50, 50, 50, 0), "b": seeds(40, 41, 42)}
    claim = claims({"median": column})["median"]
    assert claim.best == "a"
    assert claim.p == 1
    assert not claim.supported


@pytest.mark.parametrize("tied", [2, 7])
def test_false_claims_in_a_table_stay_below_five_percent(tied):
    draws = np.random.default_rng(11)
    tables, wrong, wrong_alone = 400, 0, 0
    for _ in range(tables):
        table = {}
        for defense in range(7):
            values = 60 + 2 * draws.standard_normal((7, 3))
            values[tied:] += 500  # far above: never the lowest
            table[str(defense)] = {str(a): seeds(*row) for a, row in enumerate(values)}
        found = claims(table)
        wrong += any(claim.supported for claim in found.values())
        wrong_alone += any(claim.p <= 0.05 for claim in found.values())
    assert wrong / tables < 0.075
    if tied == 2:  # the negative control: without Holm it would be about 1 - .95 ** 7 = 30 %
        assert wrong_alone / tables > 0.2
