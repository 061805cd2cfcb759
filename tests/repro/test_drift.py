"""The verdict on accuracies: how often it cries for nothing, and what it never misses."""

import math

import numpy as np
import pytest

from fl_platform.repro.compare import FEWEST, Pair, compare, detectable_change, flag
from fl_platform.repro.reference import by_cell, read_reference
from fl_platform.repro.spec import Tolerance, load_suite
from tests.repro.conftest import REPOSITORY

BANDS = Tolerance(level=0.01, margin=1.0)
SUITES = 1000
ALLOWED = 10  # of them: 1 of 100


def smoke():
    """The real accuracies of the smoke suite's reference, a row a cell."""
    reference = read_reference(load_suite("smoke", REPOSITORY).reference_file)
    cells = by_cell(reference.outcomes.values())
    return {name: np.array([run.accuracy for run in runs]) for name, runs in cells.items()}


def real(chance, cells):
    """Two draws of ten from a population with the spread of the reference's own ten seeds."""
    width = 10 ** (-1 / 5)  # of a smooth bootstrap, in deviations (B. W. Silverman, 1986)
    return {
        name: chance.choice(values, (2, 10)) + width * values.std() * chance.normal(size=(2, 10))
        for name, values in cells.items()
    }


def heavy(chance, cells):
    """Student's t with two degrees of freedom: no variance."""
    return {name: 60 + 5 * chance.standard_t(2, (2, 10)) for name in cells}


def collapsing(chance, cells):
    """Seeds of which a tenth to nine tenths fall to chance, and the others scatter little."""
    shares = np.linspace(0.1, 0.9, len(cells))
    return {
        name: np.where(chance.random((2, 10)) < share, 10.0, 85 + 0.3 * chance.normal(size=(2, 10)))
        for name, share in zip(cells, shares, strict=True)
    }


def tied(chance, cells):
    """Accuracies of a small test set, where many differences are equal."""
    return {name: 100 * np.rint(chance.normal(24, 1, (2, 10))) / 36 for name in cells}


def pairs(before, after, same=False):
    return [Pair(s, b, a, same) for s, (b, a) in enumerate(zip(before, after, strict=True))]


def alarms(population, bands=BANDS, judge=compare):
    """Of so many whole suites whose fresh seeds come from an unchanged population."""
    chance, cells = np.random.default_rng(20260101), smoke()
    count = 0
    for _ in range(SUITES):
        drawn = {name: pairs(*draws) for name, draws in population(chance, cells).items()}
        count += any(c.verdict == "drifted" for c in judge(drawn, bands, exact=False))
    return count


@pytest.mark.parametrize("population", [real, heavy, collapsing, tied])
def test_fresh_seeds_of_an_unchanged_tree_alarm_at_most_once_in_a_hundred(population):
    assert alarms(population) <= ALLOWED


def each_cell_alone(cells, bands, *, exact):
    """What is wrong with not correcting for the number of cells."""
    return [compare({name: found}, bands, exact=exact)[0] for name, found in cells.items()]


def few_seeds(cells, bands, *, exact):
    """What is wrong with intervals of two deviations, as if the spread were known."""
    found = [np.array([p.difference for p in pairs]) for pairs in cells.values()]
    off = any(abs(d.mean()) > 1.96 * d.std(ddof=1) / len(d) ** 0.5 for d in found)
    return [type("Seen", (), {"verdict": "drifted" if off else "agrees"})]


@pytest.mark.parametrize("judge", [each_cell_alone, few_seeds])
def test_the_count_of_alarms_notices_a_test_that_cries_too_often(judge):
    assert alarms(real, Tolerance(level=0.01, margin=0.0), judge) > ALLOWED


def test_a_fall_of_five_points_in_all_seeds_of_any_one_cell_is_caught():
    cells = smoke()
    for fallen in cells:
        found = compare(
            {n: pairs(x, x - 5 * (n == fallen), same=n != fallen) for n, x in cells.items()},
            BANDS,
            exact=False,
        )
        assert [c.cell for c in found if c.verdict == "drifted"] == [fallen]
        drifted = next(c for c in found if c.cell == fallen)
        assert drifted.mean == pytest.approx(-5)
        assert drifted.low <= -5 <= drifted.high < 0
        assert (drifted.n, drifted.p) == (10, pytest.approx(0, abs=1e-9))


def test_what_a_cell_would_show_is_shown_in_99_of_100():
    """With noise between repetitions as a change of processor could bring."""
    chance, size, sd = np.random.default_rng(5), 12, 1.3
    noise = chance.normal(size=10)
    noise *= sd / noise.std(ddof=1)
    change = detectable_change(noise, BANDS.margin, BANDS.level / size)
    equal = {str(i): pairs([50.0] * 10, [50.0] * 10, same=True) for i in range(size - 1)}
    seen = 0
    for _ in range(SUITES):
        fallen = pairs([50.0] * 10, 50.0 - change + sd * chance.normal(size=10))
        seen += compare({**equal, "x": fallen}, BANDS, exact=False)[-1].verdict == "drifted"
    assert 0.98 * SUITES <= seen < SUITES  # no less than it promises, and not much more


def test_where_bits_must_be_equal_one_bit_in_one_run_is_drift():
    equal = pairs([80.0, 81.0], [80.0, 81.0], same=True)
    other = [equal[0], Pair(1, 81.0, 81.0, same=False)]
    found = compare({"a": equal, "b": other}, BANDS, exact=True)
    assert [c.verdict for c in found] == ["same bits", "drifted"]
    assert (found[1].equal, found[1].n) == (1, 2)
    assert math.isnan(found[1].detectable)
    assert compare({"b": other}, BANDS, exact=False)[0].verdict == "agrees"
    # equal weights that are scored otherwise are a change of the evaluation
    scored = [Pair(0, 80.0, 80.5, same=True)]
    assert compare({"a": scored}, BANDS, exact=True)[0].verdict == "drifted"


def test_a_cell_that_begins_to_diverge_is_caught_and_one_that_always_did_is_not():
    before = [80.0 + seed for seed in range(10)]
    newly = [Pair(s, b, None, same=False) for s, b in enumerate(before)]
    always = [Pair(s, None, None, same=False) for s in range(10)]
    found = compare({"newly": newly, "always": always}, BANDS, exact=False)
    assert [c.verdict for c in found] == ["drifted", "agrees"]


def test_a_few_seeds_are_flagged_and_never_drifted():
    three = {"a": pairs([80.0] * 3, [75.0] * 3), "b": pairs([80.0] * 3, [79.5] * 3)}
    assert flag(three, BANDS) == ["a"]
    assert all(c.verdict == "agrees" for c in compare(three, BANDS, exact=False))
    ten = {"a": pairs([80.0] * FEWEST, [75.0] * FEWEST)}
    assert compare(ten, BANDS, exact=False)[0].verdict == "drifted"


def test_differences_within_the_margin_are_never_drift():
    found = compare({"a": pairs([80.0] * 10, [79.0] * 10)}, BANDS, exact=False)
    assert found[0].verdict == "agrees"
    found = compare({"a": pairs([80.0] * 10, [78.99] * 10)}, BANDS, exact=False)
    assert found[0].verdict == "drifted"
