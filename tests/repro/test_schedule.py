"""Every slot runs once or is reported missed once, whatever the clock does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fl_platform.repro.log import Diary
from fl_platform.repro.slots import DAY, Due, Settled, begins, due, slot_at, told
from fl_platform.repro.spec import Schedule

DAILY = Schedule(every="day", at="02:30")
WEEKLY = Schedule(every="week", at="18:00", day="saturday")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
YEAR_2038 = 2**31

# seconds that pass between two looks: waking, sleeping for days, and a clock that is set
STEPS = st.one_of(
    st.integers(0, 2 * 3600),
    st.integers(-DAY, 9 * DAY),
    st.sampled_from([3600, -3600, DAY, -DAY, YEAR_2038 - int(NOON), int(NOON) - YEAR_2038]),
)
FATES = st.sampled_from(["whole", "whole", "killed"])
LIVES = st.lists(st.tuples(STEPS, FATES), min_size=1, max_size=60)


def live(schedule, life, rule=due):
    """What became of every slot under ``rule``: runs that ended, slots reported missed."""
    now, settled = NOON, Settled()
    whole, missed = [], []
    for step, fate in life:
        now += step
        found = rule(schedule, now, settled)
        missed += found.missed
        if found.missed:
            settled = Settled(found.missed[-1])
        if found.slot is not None:
            assert found.slot == slot_at(schedule, now)
            settled = Settled(found.slot, open=fate == "killed")
            whole += [] if fate == "killed" else [found.slot]
    return whole, missed, settled


def check(schedule, life, rule=due):
    whole, missed, settled = live(schedule, life, rule)
    seen = [*whole, *missed]
    assert len(seen) == len(set(seen)), "a slot ran twice, was missed twice, or both"
    last = settled.last + (0 if settled.open else 1)
    assert set(seen) == set(range(slot_at(schedule, NOON + life[0][0]), last)), "a slot was lost"


@settings(max_examples=1000, deadline=None)
@given(LIVES, st.sampled_from([DAILY, WEEKLY]))
@example([(0, "killed"), (DAY, "whole"), (-DAY, "whole"), (DAY, "whole")], DAILY)
def test_each_slot_runs_once_or_is_missed_once(life, schedule):
    check(schedule, life)


def every_day_since(schedule, now, settled):
    """The usual way: run when a day has passed since the last run."""
    slot = slot_at(schedule, now)
    return Due(slot) if settled.last is None or slot != settled.last else Due(None)


def forgets_the_killed(schedule, now, settled):
    return due(schedule, now, Settled(settled.last))


@pytest.mark.parametrize(
    ("rule", "life"),
    [
        (every_day_since, [(0, "whole"), (-DAY, "whole"), (DAY, "whole")]),
        (every_day_since, [(0, "whole"), (3 * DAY, "whole")]),
        (forgets_the_killed, [(0, "killed"), (2 * DAY, "whole")]),
    ],
)
def test_the_check_notices_rules_that_double_or_lose_slots(rule, life):
    with pytest.raises(AssertionError, match=r"twice|lost"):
        check(DAILY, life, rule)


def test_an_hourly_wake_in_local_time_meets_every_day_of_two_years_once():
    """Berlin sets its clocks four times in these years; a slot knows nothing of it."""
    berlin = ZoneInfo("Europe/Berlin")
    local = datetime(2026, 1, 1, 0, 7)  # what cron's clock shows, without a zone on purpose
    life, before = [], NOON
    while local < datetime(2028, 1, 1):
        moment = local.replace(tzinfo=berlin).timestamp()
        life.append((moment - before, "whole"))
        before = moment
        local += timedelta(hours=1)
    whole, missed, _ = live(DAILY, life)
    assert not missed
    assert whole == list(range(whole[0], whole[0] + len(whole)))
    assert len(whole) == 731  # the slot of 31 December 2025 was still running at the first wake


def test_a_slot_begins_at_its_time_in_utc():
    slot = slot_at(DAILY, NOON)
    assert told(DAILY, slot) == "2026-03-01 02:30 UTC"
    assert slot_at(DAILY, begins(DAILY, slot)) == slot
    assert slot_at(DAILY, begins(DAILY, slot) - 1) == slot - 1
    assert told(WEEKLY, slot_at(WEEKLY, NOON)) == "2026-02-28 18:00 UTC"  # a Saturday
    assert "number" in told(DAILY, 10**9)


def test_why_nothing_is_done_is_told():
    slot = slot_at(DAILY, NOON)
    assert "2026-03-01 02:30 UTC is done" in due(DAILY, NOON, Settled(slot)).why
    assert "clock stands before" in due(DAILY, NOON, Settled(slot + 1)).why


def test_the_diary_tells_which_slots_are_settled_and_survives_a_torn_line(tmp_path):
    diary = Diary(tmp_path, "tiny")
    assert diary.settled() == Settled()
    diary.note("slot", NOON, slot=7)
    assert diary.settled() == Settled(7, open=True)
    diary.note("run", NOON, verdict="stopped", slot=7)
    diary.note("skipped", NOON, why="busy")
    assert diary.settled() == Settled(7, open=True)
    diary.note("run", NOON, verdict="agrees", slot=None)  # by hand, in between
    assert diary.settled() == Settled(7, open=True)
    with diary.path.open("ab") as stream:
        stream.write(b'{"kind": "run", "verd')
    diary.note("run", NOON, verdict="drifted", slot=7)
    assert diary.settled() == Settled(7)
    diary.note("missed", NOON, first=8, last=9)
    assert diary.settled() == Settled(9)
    diary.note("slot", NOON, slot=10)
    diary.note("run", NOON, verdict="could not run", slot=10)
    assert diary.settled() == Settled(10)
    assert len(list(diary.entries())) == 8
