from __future__ import annotations

import os
from pathlib import Path

import pytest

from fl_platform.tracking.atomic import remove_orphans, write_atomic
from tests.tracking.deaths import die_at_every_step


def test_a_write_that_dies_anywhere_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"old" * 100)
    seen = []
    for _ in die_at_every_step(lambda: write_atomic(target, b"new", b"er" * 300)):
        seen.append(target.read_bytes())
        if seen[-1] != b"old" * 100:
            assert seen[-1] == b"new" + b"er" * 300
            write_atomic(target, b"old" * 100)
    assert len(seen) >= 8
    assert len(set(seen)) == 2  # the deaths reach past the rename


def test_the_death_harness_notices_a_careless_writer(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def careless() -> None:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, b"new" * 100)
        os.close(descriptor)

    torn = 0
    for _ in die_at_every_step(careless):
        torn += target.exists() and target.read_bytes() not in (b"old", b"new" * 100)
        target.write_bytes(b"old")
    assert torn


def test_orphans_of_a_dead_writer_are_removed_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for _ in die_at_every_step(lambda: write_atomic(target, b"new")):
        pass
    (tmp_path / ".hidden").touch()
    assert remove_orphans(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "file"]


@pytest.mark.parametrize("name", ["fsync", "replace", "write"])
def test_an_error_is_raised_and_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"old")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(PermissionError):
        write_atomic(target, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_missing_or_full_tmpdir_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
