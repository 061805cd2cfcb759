from __future__ import annotations

import math
import os
import resource
import signal
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_platform.tracking.history import JournalError, ReplayMismatch
from fl_platform.tracking.journal import Journal, decode, encode, read, records
from tests.tracking.deaths import die_at_every_step


def _filled(path: Path, rounds: int = 3) -> Journal:
    journal = Journal(path)
    journal.note("params", values={"seed": 3})
    for step in range(rounds):
        journal.metrics(step, {"test/accuracy": 0.5 + step / 10, "time/round": step})
    return journal


@given(st.dictionaries(st.text(), st.floats(allow_nan=True, allow_infinity=True)))
def test_every_number_comes_back_bit_by_bit(values: dict[str, float]) -> None:
    record = {"kind": "metrics", "step": 1, "time": 2.5, "values": values}
    back = decode(encode(record))["values"]
    assert back.keys() == values.keys()
    for key, value in values.items():
        assert back[key] == value or (math.isnan(value) and math.isnan(back[key]))
        assert math.copysign(1, back[key]) == math.copysign(1, value) or math.isnan(value)


def test_a_journal_torn_at_any_length_gives_its_whole_records(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    _filled(whole, rounds=2).close()
    content = whole.read_bytes()
    ends = [end for _, end in records(whole)]
    for length in range(len(content) + 1):
        torn = tmp_path / "torn"
        torn.write_bytes(content[:length])
        journal = Journal(torn)
        journal.close()
        assert torn.stat().st_size == max((end for end in ends if end <= length), default=0)


def test_zeros_that_lost_power_left_at_the_end_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _filled(path).close()
    content = path.read_bytes()
    path.write_bytes(content + b'\0\0\0\n{"kin\n\0\0')
    Journal(path).close()
    assert path.read_bytes() == content


def test_a_broken_line_in_the_middle_is_an_error_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _filled(path).close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[1])
    with pytest.raises(JournalError, match=f"at byte {len(lines[0])}"):
        Journal(path)


def test_an_append_that_dies_anywhere_leaves_all_acknowledged_records(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    deaths, acknowledged = 0, 1

    def work() -> None:
        journal = Journal(path)
        journal.metrics(journal.history.next_step("a"), {"a": 1.0, "b": 2.0})
        journal.flush()

    work()
    for _ in die_at_every_step(work):
        deaths += 1
        journal = Journal(path)  # opens, whatever was left
        steps = list(journal.history.metrics["a"])
        assert steps == list(range(len(steps)))
        assert len(steps) >= acknowledged
        acknowledged = len(steps)
        journal.close()
    assert deaths >= 3
    assert acknowledged >= 2  # a death after the write has kept its record


def test_replayed_rounds_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _filled(path).close()
    size = path.stat().st_size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal = _filled(path, rounds=2)
        journal.metrics(2, {"test/accuracy": 0.7, "time/round": 99.0})  # clocks may differ
    journal.close()
    assert path.read_bytes()[size:].count(b'"metrics"') == 0
    assert read(path).curve("test/accuracy") == [(0, 0.5), (1, 0.6), (2, 0.7)]


def test_a_replayed_nan_is_equal_to_itself(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path / "journal")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            journal.metrics(0, {"test/loss": math.nan, "up": math.inf})
        journal.close()


def test_a_replay_that_differs_is_an_alarm_and_the_first_value_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _filled(path).close()
    journal = Journal(path)
    with pytest.warns(ReplayMismatch, match=r"test/accuracy = 0\.6 again in round 1, got 0\.25"):
        journal.metrics(1, {"test/accuracy": 0.25, "new": 1.0})
    journal.close()
    history = read(path)
    assert len(history.alarms) == 1
    assert dict(history.curve("test/accuracy"))[1] == 0.6
    assert history.curve("new") == [(1, 1.0)]


def test_a_reader_finds_the_mismatch_in_a_journal_that_was_only_appended_to(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    lines = [{"kind": "metrics", "step": 0, "time": 1.0, "values": {"a": a}} for a in (1.0, 2.0)]
    path.write_text("".join(encode(line) + "\n" for line in lines))
    assert len(read(path).alarms) == 1


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _filled(path).close()
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, len(before) + 20))
        journal = Journal(path)
        try:
            journal.metrics(9, {"test/accuracy": 0.9})
        except OSError:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert path.read_bytes() == before
    journal = Journal(path)
    journal.metrics(9, {"test/accuracy": 0.9})  # room again
    journal.close()
    assert dict(read(path).curve("test/accuracy"))[9] == 0.9


def test_status_and_times_follow_the_last_word(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.note("status", status="RUNNING")
    journal.note("status", status="KILLED")
    assert journal.history.status == "KILLED"
    assert journal.history.ended >= journal.history.started
    journal.note("status", status="RUNNING")
    assert math.isnan(journal.history.ended)
    journal.close()
