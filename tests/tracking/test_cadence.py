from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_platform.tracking.active_run import CheckpointInterval


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _run(seconds_a_round: float, cost: float, rounds: int) -> tuple[CheckpointInterval, int, float]:
    clock = _Clock()
    cadence, commits = CheckpointInterval(clock=clock), 0
    for _ in range(rounds):
        clock.now += seconds_a_round
        if cadence.due():
            with cadence:
                clock.now += cost
            commits += 1
    return cadence, commits, clock.now - 100


def test_nothing_is_due_before_a_second_and_then_at_the_next_round() -> None:
    clock = _Clock()
    cadence = CheckpointInterval(clock=clock)
    clock.now += 0.99
    assert not cadence.due()
    clock.now += 0.01
    assert cadence.due()


def test_a_digits_run_spends_under_a_twentieth_on_commits() -> None:
    cadence, commits, seconds = _run(seconds_a_round=0.1, cost=0.04, rounds=60)
    assert commits >= 2
    assert cadence.spent < 0.05 * seconds


def test_slow_rounds_are_each_committed() -> None:
    _, commits, _ = _run(seconds_a_round=30.0, cost=0.2, rounds=20)
    assert commits == 20


@given(st.floats(0.01, 100), st.floats(0.001, 2))
def test_commits_take_at_most_their_share_whatever_they_cost(pace: float, cost: float) -> None:
    """Beyond the first commit, whose cost nobody knows, and one that may just have been made."""
    cadence, _, seconds = _run(pace, cost, rounds=400)
    assert cadence.spent <= 0.02 * seconds + 2 * cost


def test_one_slow_commit_is_forgotten_after_three() -> None:
    clock = _Clock()
    cadence = CheckpointInterval(clock=clock)
    for cost in (5.0, 0.01, 0.01, 0.01):
        with cadence:
            clock.now += cost
    assert cadence.interval == pytest.approx(1.0)


@pytest.mark.parametrize(("minimum", "share"), [(-1, 0.02), (1, 0), (1, 1), (float("nan"), 0.5)])
def test_impossible_settings_are_refused(minimum: float, share: float) -> None:
    with pytest.raises(ValueError, match="Expected minimum"):
        CheckpointInterval(minimum=minimum, share=share)
