"""Records that agree: checkpoint, journal, identity and result of one run, and their owner."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_platform.core.outside import OutsideError
from fl_platform.run.result import finished
from fl_platform.tracking import checkpoint, frames, records
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.checkpoint import CheckpointError, weights_sha256
from fl_platform.tracking.exporter import Export, UploadBusy, pending
from fl_platform.tracking.history import JournalError
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.journal import records as journal_records
from fl_platform.tracking.lock import CannotLock, RunLock, RunOwned, alone, is_owned
from fl_platform.tracking.mlflow.sync import reap
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import (
    IdentityMismatch,
    RunFolder,
    all_runs,
    run_folder,
    write_json,
)

HASH = "0123456789abcdef" * 4
OTHER = "f" * 64


def begin(home: Path, config_hash: str = HASH, **changes: Any) -> ActiveRun:
    settings: dict[str, Any] = {
        "name": f"digits none vs mean s{config_hash[0]}",
        "config_hash": config_hash,
        "experiment": "digits",
        "conditions": {"device": "cpu", "processor": "one avx2"},
        "tracking": "journal",
    }
    return ActiveRun.open(home, **(settings | changes))


def train(
    home: Path, rounds: int = 6, stop_after: int = -1, seed: int = 0, **changes: Any
) -> dict[str, Any] | None:
    """A run loop in small: the state is a number that each round changes."""
    with begin(home, **changes) as record:
        if record.result is not None:
            return record.result
        state = {"round": 0, "w": torch.tensor(seed / 100)}
        if record.checkpoint.exists():
            state = record.checkpoint.load()
        record.start(params={"seed": seed}, tags={"attack": "none"})
        for t in range(state["round"], rounds):
            state = {"round": t + 1, "w": state["w"] + 0.01 * (t + 1)}
            record.log(t, {"test/accuracy": float(state["w"]), "round/loss": 1.0})
            record.commit(lambda state=state: record.checkpoint.save(state))
            if t == stop_after:
                record.finish("KILLED")
                return None
        return record.finish(
            "FINISHED",
            {
                "rounds": rounds,
                "seconds": 1.0,
                "seconds_training": 1.0,
                "weights_sha256": weights_sha256(state["w"]),
            }
            | {
                "validation_tail": None,
                "accuracy_per_class": [],
                "accuracy": 100 * float(state["w"]),
            },
        )


def accuracy(home: Path) -> float:
    return train(home)["accuracy_last"]


# -- B1, B2: what a checkpoint says about itself


def test_a_journal_behind_its_checkpoints_is_refused_with_file_and_remedy(tmp_path):
    train(tmp_path, stop_after=4)
    folder = run_folder(tmp_path, HASH)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join(lines[:5]))
    with pytest.raises(CheckpointError, match=r"journal\.jsonl.*--restart") as refusal:
        train(tmp_path)
    assert "checkpoint.pt" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert folder.result is None


def test_a_journal_that_lost_its_last_round_goes_back_to_the_previous_checkpoint(tmp_path):
    whole = accuracy(tmp_path / "whole")
    home = tmp_path / "torn"
    train(home, stop_after=4)
    folder = run_folder(home, HASH)
    last = b'"step":4'
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if last in line)
    folder.journal.write_bytes(b"".join(lines[:at]))
    assert accuracy(home) == whole
    history = folder.history()
    assert [step for step, _ in history.curve("test/accuracy")] == list(range(6))
    assert not history.alarms


@pytest.mark.parametrize("changes", [{"config_hash": OTHER}, {"home": "elsewhere"}])
def test_the_checkpoint_of_another_run_is_refused(tmp_path, changes):
    """Of another configuration; of the same one, begun in another home."""
    train(tmp_path / "mine", stop_after=2)
    elsewhere = tmp_path / changes.pop("home", "mine")
    train(elsewhere, stop_after=3, seed=7, **changes)
    mine = run_folder(tmp_path / "mine", HASH)
    theirs = run_folder(elsewhere, changes.get("config_hash", HASH))
    for name in ("checkpoint.pt", "checkpoint.pt.previous"):
        shutil.copy(theirs.path / name, mine.path / name)
    with pytest.raises(CheckpointError, match="another run's"):
        train(tmp_path / "mine")
    shutil.copy(theirs.journal, mine.journal)
    with pytest.raises(JournalError, match="expected the journal of run"):
        train(tmp_path / "mine")


def test_a_checkpoint_under_conditions_that_the_run_never_had_is_refused(tmp_path):
    train(tmp_path / "a", stop_after=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    other = {"conditions": {"device": "cuda", "processor": "one avx2"}}
    train(tmp_path / "b", stop_after=3, continue_anyway=True, **other)
    train(tmp_path / "b", stop_after=4, continue_anyway=True, **other)
    a, b = (run_folder(tmp_path / name, HASH) for name in "ab")
    for name in ("checkpoint.pt", "checkpoint.pt.previous", "journal.jsonl"):
        shutil.copy(b.path / name, a.path / name)
    with pytest.raises(CheckpointError, match="conditions"):
        train(tmp_path / "a")
    assert train(tmp_path / "b", continue_anyway=True) is not None  # its own past is known


def test_a_checkpoint_of_the_version_before_is_taken_with_a_notice(tmp_path, caplog):
    whole = accuracy(tmp_path / "whole")
    home = tmp_path / "old"
    train(home, stop_after=2)
    folder = run_folder(home, HASH)
    described = {**folder.describe(), "schema": 1}
    write_json(folder.identity_file, described)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join(line for line in lines if b'"kind":"run"' not in line))
    stamp, payload = checkpoint._intact(folder.checkpoint)
    assert stamp is not None
    import hashlib

    head = b"fl_platform checkpoint 1\n" + hashlib.sha256(payload).digest()
    folder.checkpoint.write_bytes(head + bytes(payload))
    assert accuracy(home) == whole
    assert "of an earlier version" in caplog.text


def test_another_processor_is_refused_by_name_and_an_unknown_one_passes(tmp_path):
    train(tmp_path, stop_after=2)
    other = {"conditions": {"device": "cpu", "processor": "two avx512"}}
    with pytest.raises(IdentityMismatch, match="processor: 'one avx2' then, 'two avx512' now"):
        train(tmp_path, **other)
    folder = run_folder(tmp_path, HASH)
    write_json(folder.identity_file, {**folder.describe(), "conditions": {"device": "cpu"}})
    for name in ("checkpoint.pt", "checkpoint.pt.previous"):
        (folder.path / name).unlink()  # they knew more than such a record
    assert train(tmp_path, **other) is not None


# -- B3, B4: one owner, and decisions under the lock


def pair_of_starts(home: Path, delay: float) -> dict[int, int]:
    """A plain start and a ``--restart`` one of the same run, so far apart: pid -> exit code."""
    arrived, gate = os.pipe(), os.pipe()
    children = []
    for fresh in (False, True):
        child = os.fork()
        if child == 0:
            os.close(gate[1])
            os.write(arrived[1], b"1")
            os.read(gate[0], 1)
            time.sleep(max(0.0, delay if fresh else -delay))
            code = 9
            try:
                record = begin(home, fresh=fresh)
                record.start(params={}, tags={})
                deadline = time.monotonic() + 0.12
                step = 0
                while time.monotonic() < deadline:
                    record.log(step, {"test/accuracy": 0.5, "time/pid": os.getpid()})
                    step += 1
                    time.sleep(0.005)
                there = is_owned(run_folder(home, HASH).lock)
                record._lock.release()
                code = 0 if there else 8
            except RunOwned:
                code = 75
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate[0])
    for _ in children:
        os.read(arrived[0], 1)
    os.close(gate[1])
    codes = {child: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
    for descriptor in arrived:
        os.close(descriptor)
    return codes


def starts_have_one_owner(home: Path, pairs: int, chance: random.Random) -> None:
    train(home, stop_after=1)
    for _ in range(pairs):
        near = chance.random() < 0.7  # where two owners were seen before
        codes = pair_of_starts(home, chance.uniform(*(0, 0.014) if near else (-0.05, 0.05)))
        assert sorted(codes.values()) == [0, 75], codes
        for folder in all_runs(home):
            points = read(folder.journal).metrics.get("time/pid", {}).values()
            assert not codes.keys() <= {int(point.value) for point in points}, folder.path
    assert not [run for run in all_runs(home) if run.path.name != HASH[:16] and not run.aside]


def test_fresh_and_plain_starts_have_one_owner_each(tmp_path, chance):
    starts_have_one_owner(tmp_path, 25, chance)


@pytest.mark.nightly
def test_500_pairs_of_fresh_and_plain_starts_have_one_owner_each(tmp_path, chance, figure):
    starts_have_one_owner(tmp_path, 500, chance)
    figure("B4", "500 pairs of --restart and plain starts: one owner each")


def test_a_run_that_ends_while_reap_looks_at_it_keeps_its_last_word(tmp_path, monkeypatch):
    record = begin(tmp_path)
    record.start(params={}, tags={})
    original = RunLock.acquire
    ended = []

    def ends_just_before(self: RunLock) -> RunLock:
        if not ended:
            ended.append(True)
            record.finish("FINISHED", {"rounds": 0})
        return original(self)

    monkeypatch.setattr(RunLock, "acquire", ends_just_before)
    assert list(reap(tmp_path)) == []
    assert ended
    assert read(record.folder.journal).status == "FINISHED"


def test_runs_that_end_while_reap_runs_keep_their_state(tmp_path, chance, request):
    ends_while_reaped(tmp_path, 12, chance)


def test_runs_that_end_while_reap_and_sync_run_keep_their_state(tmp_path, chance):
    ends_while_reaped(tmp_path, 12, chance, Kept())


@pytest.mark.nightly
def test_200_runs_that_end_while_reap_and_sync_run_keep_their_state(tmp_path, chance, figure):
    ends_while_reaped(tmp_path, 200, chance, Kept())
    figure("B3", "200 runs ended while reap and sync ran: 0 false states, here and where copied")


@pytest.mark.nightly
def test_200_runs_that_end_while_reap_runs_keep_their_state(tmp_path, chance, figure):
    ends_while_reaped(tmp_path, 200, chance)
    figure("B3", "200 runs ended while reap ran: 0 false states")


class Kept:
    """A store in memory: the records of each run and its last status."""

    address = "memory"

    def __init__(self):
        self.records, self.states = {}, {}

    def find_or_create(self, described, remembered, parent):
        return described["run_id"]

    def log_batch(self, run, batch, *, repeated):
        known = [] if repeated else self.records.setdefault(run, [])
        self.records[run] = [*known, *batch]

    def artifact(self, run, file, folder):
        pass

    def status(self, run, status, at):
        self.states[run] = status


def ends_while_reaped(home: Path, runs: int, chance: random.Random, store: Any = None) -> None:
    """Runs end at random moments while they are reaped and, with a ``store``, copied to it.

    Two processes sync, as people and timers may: this one, and a child that never stops.
    """
    hashes = [f"{i:016x}" * 4 for i in range(runs)]
    children = []
    for config_hash in hashes:
        delay = chance.uniform(0.0, 0.3)
        child = os.fork()
        if child == 0:
            record = begin(home, config_hash)
            record.start(params={}, tags={})
            time.sleep(delay)
            record.finish("FINISHED", {"rounds": 0})
            os._exit(0)
        children.append(child)
    syncing = os.fork() if store is not None else 0
    if store is not None and syncing == 0:
        while os.getppid() != 1:
            copied(home, Kept())
    export = None if store is None else Export(home, exporter=store)
    alive = set(children)
    reaped = []
    while alive:
        reaped += list(reap(home))
        if export is not None:
            copied(home, export)
        for child in list(alive):
            if os.waitpid(child, os.WNOHANG)[0]:
                alive.discard(child)
    states = [run_folder(home, config_hash).history().status for config_hash in hashes]
    if syncing:
        os.kill(syncing, signal.SIGKILL)
        os.waitpid(syncing, 0)
    assert states == ["FINISHED"] * runs
    assert not reaped
    if export is not None:
        for folder in all_runs(home):
            folder.forwarded.unlink(missing_ok=True)  # the child's store is gone with it
        copied(home, export)
        assert sorted(store.states.values()) == states
        for folder in all_runs(home):
            kept = store.records[folder.describe()["run_id"]]
            assert kept == [record for record, _ in journal_records(folder.journal)]


def copied(home: Path, store: Any) -> None:
    """What `sync` does, to a store in memory."""
    export = store if isinstance(store, Export) else Export(home, exporter=store)
    for folder in all_runs(home):
        with contextlib.suppress(UploadBusy):
            export.upload(folder)


# -- B14, F21: links and file systems without locks


@pytest.mark.parametrize("name", ["lock", "journal.jsonl", "run.json", "checkpoint.pt"])
def test_a_link_in_a_received_folder_is_never_followed(tmp_path, name):
    victim = tmp_path / "victim"
    train(tmp_path, stop_after=2)
    folder = run_folder(tmp_path, HASH)
    path = folder.path / name
    content = path.read_bytes() or b"x" * 1500
    victim.write_bytes(content + b"precious, and not a whole line")
    before = victim.read_bytes()
    path.unlink()
    path.symlink_to(victim)
    if name == "checkpoint.pt":
        (folder.path / "checkpoint.pt.previous").unlink()
    with pytest.raises((RecordError, CheckpointError, OutsideError), match=name.split(".")[0]):
        train(tmp_path)
    with contextlib.suppress(RecordError):
        list(reap(tmp_path))
    assert victim.read_bytes() == before


@pytest.mark.parametrize("name", ["forward.lock", "forwarded.json", "../../.store.lock"])
def test_a_link_where_the_uploader_writes_is_never_followed(tmp_path, name):
    """A lock is refused; a cursor is a memory alone, and made anew."""
    train(tmp_path, stop_after=2)
    folder = run_folder(tmp_path, HASH)
    victim, path = tmp_path / "victim", (folder.path / name).resolve()
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    if name == "forwarded.json":
        assert pending(folder)
        write_json(path, {})
        assert not path.is_symlink()
    else:
        with pytest.raises(OutsideError, match=path.name), alone(path):
            pass
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b'{"store": 1, "mlflow_run_id": [], "offset": "x", "tail": 3}', b"x" * 2**21],
)
def test_a_cursor_that_does_not_fit_means_that_all_is_sent_again(tmp_path, content, caplog):
    train(tmp_path, stop_after=2)
    folder = run_folder(tmp_path, HASH)
    folder.forwarded.write_bytes(content)
    records._SKIPPED.clear()
    assert pending(folder)
    assert str(folder.forwarded) in caplog.text
    store = Kept()
    sent = Export(tmp_path, exporter=store).upload(folder)
    assert [sent] == [len(batch) for batch in store.records.values()] != [0]
    assert not pending(folder)


@pytest.mark.parametrize("name", ["config.yaml", "weights.pt", "accuracy.png", "partition.png"])
def test_an_artifact_replaces_a_link_and_not_what_it_points_to(home, tmp_path, name):
    from fl_platform.config import compose, config_hash
    from fl_platform.run.runner import run

    typed = ["task=digits", "attack=none", "defense=mean", "rounds=1", "task.clients=8",
             "runtime.tracking=journal", "runtime.progress=none"]  # fmt: skip
    config = compose(typed, home)
    folder = run_folder(home, config_hash(config)).create()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder.artifacts / name).symlink_to(victim)
    run(config, home)
    assert victim.read_bytes() == b"precious"
    assert not (folder.artifacts / name).is_symlink()


@pytest.mark.parametrize("place", ["", "artifacts"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, place):
    train(tmp_path, stop_after=2)
    path = run_folder(tmp_path, HASH).path / place
    moved = path.rename(tmp_path / "moved")
    path.symlink_to(moved)
    with pytest.raises(RecordError, match="expected a folder, got a link"):
        train(tmp_path)


def test_a_file_system_without_locks_is_named_with_the_remedy(tmp_path, monkeypatch):
    import errno
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CannotLock, match=r"got none at .*0123456789abcdef .*--home"):
        train(tmp_path)


# -- B20, B31: what one folder does to the others


BAD = {
    "run.json": [
        b"[]", b"{}", b"null", b'{"schema": 1}', b"\xff\xfe", b"[" * 100_000, b"",
        b'{"run_id": 7, "name": [], "config_hash": null, "conditions": 3, "created": "x"}',
    ],
    "result.json": [
        b"[]", b"{}", b'{"status": "FINISHED", "rounds": "ten"}', b"[" * 100_000, b"\x00\x00",
        b'{"run_id": "x", "status": "FINISHED", "rounds": 1e999}',
    ],
    "journal.jsonl": [
        b'{"kind": "metrics", "step": "x", "time": 1, "values": 3}\n{}\n',
        b'{"kind":"metrics","step":1,"time":1,"values":{"a":' + b"9" * 500 + b'}}\n{"kind":"x"}\n',
        b'{"kind":"params","time":1,"values":[]}\n{"kind":"x"}\n', b"[" * 100_000 + b"\n{}\n",
        b'{"kind":"tags","time":1,"values":{"a":"1","a":"2"}}\n{"kind":"x"}\n',
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD))
def test_one_bad_folder_hides_no_other(tmp_path, caplog, name):
    from fl_platform.grid.estimate import _known

    train(tmp_path, config_hash=OTHER)
    train(tmp_path)
    folder = run_folder(tmp_path, HASH)
    good = (folder.path / name).read_bytes()
    for bad in BAD[name]:
        (folder.path / name).write_bytes(bad)
        told = len(caplog.records)
        records._SKIPPED.clear()
        table = frames.runs(tmp_path, "folders")
        assert OTHER in set(table["config_hash"]), bad
        _known(tmp_path)
        planned = list(all_runs(tmp_path))
        assert planned
        assert all("\n" not in line.getMessage() for line in caplog.records)
        lines = [record.getMessage() for record in caplog.records[told:]]
        assert any(str(folder.path) in line for line in lines) or name == "result.json", bad
        with pytest.raises((RecordError, IdentityMismatch)):
            _ = finished(tmp_path, HASH) or train(tmp_path)
        (folder.path / name).write_bytes(good)
    assert finished(tmp_path, HASH) is not None


def test_a_copied_folder_counts_once(tmp_path):
    train(tmp_path)
    folder = run_folder(tmp_path, HASH).path
    shutil.copytree(folder, folder.with_name("copy of it"))
    shutil.copytree(folder, folder.with_name(OTHER[:16]))
    shutil.copytree(folder, folder.with_name(f"{HASH[:16]}.0123abcd"))
    assert len(frames.runs(tmp_path, "folders")) == 1


def test_alarms_are_counted_where_results_are_read(tmp_path):
    train(tmp_path)
    folder = run_folder(tmp_path, HASH)
    assert finished(tmp_path, HASH).alarms == 0
    journal = Journal(folder.journal)
    with pytest.warns(UserWarning, match="test/accuracy"):
        journal.metrics(1, {"test/accuracy": 0.9})
    journal.close()
    result = finished(tmp_path, HASH)
    assert result.alarms == 1
    assert result.to_json()["alarms"] == 1
    assert frames.runs(tmp_path, "folders")["alarms"].tolist() == [1]


def test_what_fresh_puts_aside_may_be_unreadable(tmp_path):
    train(tmp_path, stop_after=2)
    folder = run_folder(tmp_path, HASH)
    folder.identity_file.write_bytes(b"\x00")
    folder.journal.write_bytes(b"nonsense\n{}\n")
    with pytest.raises(RecordError, match=r"run\.json"):
        train(tmp_path)
    assert train(tmp_path, fresh=True) is not None
    assert json.loads(folder.identity_file.read_bytes())["schema"] == 2


def test_a_killed_run_is_reaped_once(tmp_path):
    child = os.fork()
    if child == 0:
        begin(tmp_path).start(params={}, tags={})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [run.path.name for run in reap(tmp_path)] == [HASH[:16]]
    assert list(reap(tmp_path)) == []
    assert RunFolder(next(all_runs(tmp_path)).path).history().status == "KILLED"
