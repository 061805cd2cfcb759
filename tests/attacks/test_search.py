import pytest

from fl_platform.attacks.line_search import bisect, halve, line_maximise


def test_bisection_ends_on_the_feasible_side():
    end = bisect(lambda x: x <= 3.21)
    assert 3.21 - 1e-5 <= end <= 3.21
    assert bisect(lambda x: True) == 10.0


def test_halving_ends_near_the_bound_and_below_twice_its_start():
    assert halve(lambda x: x <= 3.21) == pytest.approx(3.21, abs=2e-5)
    assert 19.9 < halve(lambda x: True) < 20


def test_line_search_returns_the_best_point_that_it_tried():
    asked = []

    def score(x):
        asked.append(x)
        return -abs(x - 5.3)

    assert line_maximise(score, evaluations=20) == min(asked, key=lambda x: abs(x - 5.3))
    assert len(asked) == 20
    assert line_maximise(lambda x: -x) == 0.0


@pytest.mark.parametrize("tolerance", [1e-5, 1e-16, 5e-324])
@pytest.mark.parametrize("bound", [0, 2.5, 7.123456e29, 1e38])
@pytest.mark.parametrize("start", [1e-30, 10, 1e30])
def test_searches_end_where_the_tolerance_is_below_the_distance_of_two_numbers(
    start, bound, tolerance
):
    asked = []

    def fits(strength):
        asked.append(strength)
        assert len(asked) < 2500
        return strength <= bound

    halve(fits, start=start, tolerance=tolerance)
    asked.clear()
    bisect(fits, high=start, tolerance=tolerance)
