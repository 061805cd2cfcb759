"""Which slot of a schedule is due, from the clock and what is settled: a pure function.

A slot is a number: how many whole periods since 1970 have passed, counted in UTC. Who wakes the
command, how often, and whether it was late, decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, get_args

from fl_platform.repro.spec import Schedule, Weekday

DAY = 86400
PERIOD = {"day": DAY, "week": 7 * DAY}
EPOCH_DAY = 3  # 1 January 1970 was a Thursday, the fourth day of a week that begins on Monday


class Clock(NamedTuple):
    """What time it is, and what measures durations; the second never goes back."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Settled:
    """What the diary knows of slots.

    Attributes:
        last: the newest slot that was begun or reported missed; None: no slot yet.
        open: whether the run of that slot was begun and never came to an end.
    """

    last: int | None = None
    open: bool = False


@dataclass(frozen=True)
class Due:
    """What is to be done now.

    Attributes:
        slot: to run now; None: nothing, for the reason ``why``.
        missed: slots that have passed without a whole run, to be reported once.
    """

    slot: int | None
    missed: range = field(default_factory=lambda: range(0))
    why: str = ""


def due(schedule: Schedule, now: float, settled: Settled) -> Due:
    """The slot to run at ``now`` (seconds since 1970), so that each runs once or is missed once.

    A slot may begin late, as long as its period lasts. One that was begun and never ended is
    continued within its period and missed after it. Where the clock stands before a slot that is
    settled, nothing is run: that slot's turn is over.
    """
    slot = slot_at(schedule, now)
    if settled.last is None:
        return Due(slot)
    if slot < settled.last:
        return Due(
            None,
            why=f"the clock stands before the slot of {told(schedule, settled.last)}, which was"
            " begun already",
        )
    if slot == settled.last:
        if settled.open:
            return Due(slot)
        return Due(None, why=f"the slot of {told(schedule, slot)} is done")
    first = settled.last if settled.open else settled.last + 1
    return Due(slot, range(first, slot))


def slot_at(schedule: Schedule, now: float) -> int:
    """The number of the slot whose period holds ``now``."""
    return int((now - _offset(schedule)) // PERIOD[schedule.every])


def begins(schedule: Schedule, slot: int) -> int:
    """When a slot begins, in seconds since 1970."""
    return slot * PERIOD[schedule.every] + _offset(schedule)


def told(schedule: Schedule, slot: int) -> str:
    """A slot in words: ``2026-03-01 02:30 UTC``."""
    try:
        return datetime.fromtimestamp(begins(schedule, slot), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError):  # a clock beyond the year 9999
        return f"number {slot}"


def _offset(schedule: Schedule) -> int:
    hour, minute = map(int, schedule.at.split(":"))
    day = get_args(Weekday).index(schedule.day) - EPOCH_DAY if schedule.every == "week" else 0
    return day * DAY + hour * 3600 + minute * 60
