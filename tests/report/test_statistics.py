import math

import numpy as np
import pytest
from scipy import stats

from fl_platform.report.statistics import (
    Difference,
    difference_to_published,
    holm,
    paired_difference,
    summarize,
    verdict,
)


def interval(low, high):
    return Difference(3, (low + high) / 2, low, high, 0.5)


def test_summary_of_three_seeds_by_hand():
    # Mean 50, deviations -2, 0, 2: variance (4 + 0 + 4) / 2 = 4; t(2, 0.975) = 4.302653.
    s = summarize([48.0, 50.0, 52.0])
    half = 4.302653 * 2 / math.sqrt(3)
    assert (s.n, s.mean, s.sd) == (3, 50.0, 2.0)
    assert s.low == pytest.approx(50 - half, abs=1e-5)
    assert s.high == pytest.approx(50 + half, abs=1e-5)


def test_summary_agrees_with_scipy():
    x = np.random.default_rng(0).normal(60, 3, 7)
    low, high = stats.t.interval(0.9, 6, loc=x.mean(), scale=stats.sem(x))
    s = summarize(x, level=0.9)
    assert [s.low, s.high] == pytest.approx([low, high])
    assert s.sd == pytest.approx(np.std(x, ddof=1))


def test_one_value_has_no_deviation_and_no_value_has_nothing():
    one, none = summarize([42.0]), summarize([])
    assert one.mean == 42
    assert one.n == 1
    assert math.isnan(one.sd)
    assert math.isnan(one.low)
    assert none.n == 0
    assert math.isnan(none.mean)


def test_a_diverged_value_is_never_averaged():
    with pytest.raises(ValueError, match="finite"):
        summarize([50.0, math.nan])


def test_paired_difference_by_hand():
    # Differences -4, -6, -5: mean -5, sd 1, se 1/sqrt(3); t = -5 sqrt(3), p = 2 T_2(-8.660).
    d = paired_difference({0: 40.0, 1: 50.0, 2: 60.0}, {0: 44.0, 1: 56.0, 2: 65.0})
    assert d is not None
    assert (d.n, d.mean) == (3, -5.0)
    assert d.high == pytest.approx(-5 + 4.302653 / math.sqrt(3), abs=1e-5)
    assert d.p == pytest.approx(stats.ttest_rel([40, 50, 60], [44, 56, 65]).pvalue)


def test_pairing_uses_shared_seeds_only_and_needs_three():
    first = {0: 1.0, 1: 2.0, 2: 4.0, 9: 99.0}
    second = {0: 2.0, 1: 4.0, 2: 5.0, 7: -99.0}
    shared = paired_difference(first, second)
    assert shared is not None
    assert shared.n == 3
    assert shared.mean == pytest.approx(-4 / 3)
    assert paired_difference({0: 1.0, 1: 2.0, 5: 3.0}, second) is None


def test_equal_differences_have_an_interval_of_no_width():
    apart = paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 3.0, 2: 4.0})
    tied = paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert apart is not None
    assert (apart.low, apart.high, apart.p) == (-1, -1, 0)
    assert tied is not None
    assert tied.p == 1


def test_difference_to_the_paper_agrees_with_welch():
    ours = [41.0, 44.0, 42.5, 40.0]
    d = difference_to_published(ours, 42.9, 1.97, 3)
    # Three values of mean 42.9 and sample deviation 1.97.
    theirs = 42.9 + 1.97 * np.array([-1.0, 0.0, 1.0])
    reference = stats.ttest_ind(ours, theirs, equal_var=False)
    bounds = reference.confidence_interval(0.9)
    assert d is not None
    assert [d.low, d.high, d.p] == pytest.approx([bounds.low, bounds.high, reference.pvalue])


def test_no_interval_without_seeds_or_without_a_printed_deviation():
    assert difference_to_published([41.0, 44.0], 42.9, 1.97, 3) is None
    assert difference_to_published([41.0, 44.0, 42.0], 42.9, None, None) is None


def test_no_deviation_on_either_side_gives_an_interval_of_no_width():
    d = difference_to_published([40.0, 40.0, 40.0], 42.0, 0.0, 3)
    assert d is not None
    assert (d.low, d.high) == (-2, -2)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (interval(-5, 5), "agrees"),
        (interval(1, 4), "agrees"),
        (interval(-5.01, 4), "cannot tell"),
        (interval(-1, 9), "cannot tell"),
        (interval(0, 9), "cannot tell"),
        (interval(0.01, 5.01), "differs"),
        (interval(-30, -20), "differs"),
        (None, "cannot tell"),
    ],
)
def test_verdict(difference, said):
    assert verdict(difference) == said


def test_verdicts_raise_false_alarms_no_more_often_than_promised():
    draws = np.random.default_rng(5)
    tried = 2000
    alarms, wrong_agreements, seen = 0, 0, 0
    for _ in range(tried):
        theirs = draws.normal(50, 4, 3)
        printed = (theirs.mean(), theirs.std(ddof=1), 3)
        same, off = draws.normal(50, 4, 3), draws.normal(55, 4, 3)
        far = draws.normal(80, 4, 3)
        alarms += verdict(difference_to_published(same, *printed)) == "differs"
        wrong_agreements += verdict(difference_to_published(off, *printed)) == "agrees"
        seen += verdict(difference_to_published(far, *printed)) == "differs"
    # Nominally 10 % and 5 %; 2 points for the error of 2,000 draws.
    assert alarms / tried < 0.12
    assert wrong_agreements / tried < 0.07
    assert seen / tried > 0.9  # the negative control: a real difference is found


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: 4 x .01, 3 x .02, max(2 x .03, .06), max(.04, .06).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_family_rate_where_single_tests_do_not():
    p = np.random.default_rng(1).uniform(size=(2000, 7))
    corrected = np.mean([min(holm(list(row))) <= 0.05 for row in p])
    single = np.mean(p.min(axis=1) <= 0.05)
    assert corrected < 0.065
    assert single > 0.25
