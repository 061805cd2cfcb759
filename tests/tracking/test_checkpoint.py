from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import random
import resource
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from fl_platform.tracking import checkpoint
from fl_platform.tracking.checkpoint import CheckpointError, CheckpointFile, weights_sha256
from tests.tracking.deaths import die_at_every_step


def _state(round_: int) -> dict[str, object]:
    return {"round": round_, "weights": torch.full((64,), float(round_)), "rule": {"calls": 2}}


def _same(a: dict[str, object], b: dict[str, object]) -> bool:
    return a["round"] == b["round"] and torch.equal(a["weights"], b["weights"])


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_commit_that_dies_at_any_step_leaves_the_old_or_the_new_state(
    tmp_path: Path, before: int
) -> None:
    """``before``: how many commits there were; 3 means two, of which the newer is damaged."""
    path = tmp_path / "checkpoint.pt"

    def prepare() -> None:
        for file in tmp_path.iterdir():
            file.unlink()
        for round_ in range(min(before, 2)):
            checkpoint.save(tmp_path, _state(round_))
        if before == 3:
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    old = {0: None, 1: 0, 2: 1, 3: 0}[before]
    prepare()
    seen = set()
    for _ in die_at_every_step(lambda: checkpoint.save(tmp_path, _state(7))):
        try:
            state = checkpoint.load(tmp_path)
        except FileNotFoundError:
            state = None
        seen.add(state and state["round"])
        assert state is None or _same(state, _state(state["round"]))
        prepare()
    assert seen == {old, 7}


def test_every_bit_flip_and_truncation_is_found_before_unpickling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, _state(1))
    path = tmp_path / "checkpoint.pt"
    content = path.read_bytes()
    unpickled = []
    monkeypatch.setattr(torch, "load", lambda *_, **__: unpickled.append(1))
    draw = random.Random(5)
    damaged = [content[: draw.randrange(len(content))] for _ in range(100)]
    for _ in range(200):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="Nothing was overwritten"):
            checkpoint.load(tmp_path)
        assert path.read_bytes() == content
    assert not unpickled


def test_a_damaged_pickle_with_a_payload_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary flies when torch unpickles freely, so it would show an unpickling too early."""
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    torch.save({"state": _Canary(canary)}, buffer)
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert canary.exists()
    canary.unlink()
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda f, **_: real(f, weights_only=False))
    payload = buffer.getvalue()
    wrong = hashlib.sha256(payload + b"?").digest()
    (tmp_path / "checkpoint.pt").write_bytes(b"fl_platform checkpoint 1\n" + wrong + payload)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(tmp_path)
    assert not canary.exists()


def _signed(payload: bytes) -> bytes:
    return b"fl_platform checkpoint 1\n" + hashlib.sha256(payload).digest() + payload


def _zipped(member: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


def _giant() -> bytes:
    """A file of a few bytes that declares ten terabytes."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(7777777)[:1].expand(1)}, buffer)
    small = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as old, zipfile.ZipFile(small, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data.pkl"):
                size = (7777777).to_bytes(3, "little") + b"\0"
                content = content.replace(b"J" + size, b"\x8a\x06" + (10**13).to_bytes(6, "little"))
            elif "/data/" in info.filename:
                content = content[:16]
            new.writestr(info.filename, content)
    return small.getvalue()


@pytest.mark.parametrize(
    "payload",
    [
        "reduce in torch zip",
        "reduce in bare pickle",
        "member outside",
        "zip bomb",
        "ten terabytes",
        "no zip",
        "empty",
        "list instead of state",
        "whole module",
    ],
)
def test_a_hostile_file_with_the_right_digest_is_refused(tmp_path: Path, payload: str) -> None:
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    if payload == "reduce in torch zip":
        torch.save({"state": _Canary(canary)}, buffer)
    elif payload == "list instead of state":
        torch.save([1, 2], buffer)
    elif payload == "whole module":
        torch.save({"model": torch.nn.Linear(2, 2)}, buffer)
    content = {
        "reduce in bare pickle": pickle.dumps({"state": _Canary(canary)}),
        "member outside": _zipped("../../canary", b"x"),
        "zip bomb": _zipped("archive/data.pkl", bytes(50_000_000), zipfile.ZIP_DEFLATED),
        "ten terabytes": _giant() if payload == "ten terabytes" else b"",
        "no zip": b"checkpoint",
        "empty": b"",
    }.get(payload, buffer.getvalue())
    (tmp_path / "checkpoint.pt").write_bytes(_signed(content))
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 200_000
    with pytest.raises(CheckpointError, match="Nothing was overwritten"):
        checkpoint.load(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit
    assert [p.name for p in tmp_path.rglob("*")] == ["checkpoint.pt"]


def test_the_previous_checkpoint_serves_with_a_warning_and_survives_the_next_commits_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.pt")
    file.save(_state(1))
    file.save(_state(2))
    file.path.write_bytes(file.path.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING):
        assert _same(file.load(), _state(1))
    assert str(file.path) in caplog.text
    file.save(_state(3))
    assert _same(file.load(), _state(3))
    file.path.write_bytes(b"")
    assert _same(file.load(), _state(1))  # the damaged file never took the good one's place


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for round_ in range(4):
        checkpoint.save(tmp_path, _state(round_))
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "checkpoint.pt").unlink()
    assert _same(checkpoint.load(tmp_path), _state(2))


def test_a_full_disk_leaves_the_last_state(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, _state(1))
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        try:
            checkpoint.save(tmp_path, _state(2))
        except OSError:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert _same(checkpoint.load(tmp_path), _state(1))


def test_the_weights_digest_is_that_of_the_bytes() -> None:
    weights = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert weights_sha256(weights) == hashlib.sha256(weights.numpy().tobytes()).hexdigest()
    assert weights_sha256(weights.T) != weights_sha256(weights)
    assert weights_sha256(weights + 0) == weights_sha256(weights)
