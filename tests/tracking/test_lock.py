from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fl_platform.tracking.lock import RunLock, RunOwned, is_owned


def _holder(path: Path) -> int:
    """A child that holds the lock; returns once it has it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        RunLock(path).acquire()
        os.write(writer, b"1")
        signal.pause()
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    return child


def test_the_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    child = _holder(path)
    try:
        assert is_owned(path)
        with pytest.raises(RunOwned, match=f"process {child} on ") as refusal:
            RunLock(path).acquire()
        assert refusal.value.owner["pid"] == child
        assert refusal.value.owner["boot_id"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_killed_owner_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    child = _holder(path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not is_owned(path)
    with RunLock(path) as lock:
        assert lock.held
        assert is_owned(path)
    assert not is_owned(path)


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = RunLock(path).acquire()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"1")
        signal.pause()
        os._exit(0)
    try:
        os.read(reader, 1)
        assert is_owned(path)
        lock.release()
        assert not is_owned(path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_of_four_that_start_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    gate, opener = os.pipe()
    done, finish = os.pipe()
    results, report = os.pipe()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            os.close(opener)
            os.close(finish)
            os.read(gate, 1)
            try:
                RunLock(path).acquire()
                os.write(report, b"w")
            except RunOwned:
                os.write(report, b"l")
            os.read(done, 1)  # hold on until all four have told
            os._exit(0)
        children.append(child)
    os.close(opener)
    told = b"".join(os.read(results, 1) for _ in children)
    os.close(finish)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(told) == sorted(b"wlll")
