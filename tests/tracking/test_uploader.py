"""The uploader's process, with an exporter of a plug-in: a file of its own, which writes CSV."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fl_platform.tracking import uploader
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.follower import mark_killed
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import RunOwned, SharedLock
from fl_platform.tracking.run_folder import RunFolder, run_folder
from fl_platform.tracking.uploader import Uploader

HASH = "0123456789abcdef" * 4
PLUGIN = '''
import csv, os, time
from pathlib import Path

__all__ = ["Csv"]


class Csv:
    """One file a run: key, step, value; ``FAIL`` and ``HANG`` are what a service may do."""

    def __init__(self, home):
        self.folder = Path(home) / "csv"
        self.folder.mkdir(exist_ok=True)
        self.address = str(self.folder)

    def find_or_create(self, described, remembered, parent):
        above = parent()
        (self.folder / f"{described['run_id']}.parent").write_text(above)
        return described["run_id"]

    def log_batch(self, run, batch, *, repeated):
        if os.environ.get("FAIL") and os.environ["FAIL"] in run:
            raise ConnectionError("the service is away")
        time.sleep(float(os.environ.get("HANG", 0)))
        with (self.folder / f"{run}.csv").open("a", newline="") as stream:
            for record in batch:
                if record["kind"] == "metrics":
                    for key, value in record["values"].items():
                        csv.writer(stream).writerow([key, record["step"], value])

    def artifact(self, run, file, folder):
        (self.folder / f"{run}.{file.name}").write_bytes(file.read_bytes())

    def status(self, run, status, at):
        (self.folder / f"{run}.status").write_text(status)
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "csvplugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(home))
    return home


def _open(home: Path, config_hash: str = HASH, **changes: Any) -> ActiveRun:
    settings: dict[str, Any] = {
        "name": "none vs mean, digits s0",
        "config_hash": config_hash,
        "experiment": "digits",
        "conditions": {},
        "tracking": "csvplugin.Csv",
    }
    return ActiveRun.open(home, **(settings | changes))


def _rows(home: Path, run_id: str) -> list[list[str]]:
    file = home / "csv" / f"{run_id}.csv"
    return list(csv.reader(file.open())) if file.exists() else []


def _until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_plugin_s_exporter_follows_a_run_and_has_all_at_the_end(home: Path) -> None:
    with _open(home, "f" * 64, tracking="journal", name="parent") as parent:
        parent.start(params={}, tags={})
        parent.finish()
    with _open(home, parent_run_id=parent.run_id) as record:
        record.start(params={}, tags={})
        record.log(0, {"test/accuracy": 0.25})
        _until(lambda: _rows(home, record.run_id))  # while the run is at work
        record.log(1, {"test/accuracy": 0.5})
        (record.folder.artifacts / "a.txt").write_text("x")
        record.publish(record.folder.artifacts / "a.txt")
        record.finish()
    uploader.finish()
    rows = [row for row in _rows(home, record.run_id) if row[0] == "test/accuracy"]
    assert rows == [["test/accuracy", "0", "0.25"], ["test/accuracy", "1", "0.5"]]
    assert (home / "csv" / f"{record.run_id}.status").read_text() == "FINISHED"
    assert (home / "csv" / f"{record.run_id}.a.txt").read_text() == "x"
    assert (home / "csv" / f"{record.run_id}.parent").read_text() == parent.run_id
    assert (home / "csv" / f"{parent.run_id}.status").read_text() == "FINISHED"
    assert not record.folder.forwarded.exists()  # that is MLflow's


OWNER = """
import os, sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from fl_platform.tracking import uploader
from tests.tracking.test_uploader import _open
record = _open(Path(sys.argv[1]))
record.start(params={}, tags={})
record.log(0, {"test/accuracy": 0.25})
(made,) = uploader._LIVE.values()
if os.fork() == 0:  # a fork must not keep the pipe of the uploader open
    time.sleep(600)
print(made._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("hang", [0, 600])
def test_a_killed_owner_s_run_is_marked_and_the_process_is_gone_in_time(
    home: Path, hang: int
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)],
        stdout=subprocess.PIPE,
        env={**os.environ, "HANG": str(hang)},
        start_new_session=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    handle = os.pidfd_open(pid)
    folder = run_folder(home, HASH)
    run_id = (folder.describe() or {})["run_id"]
    _until((home / "csv" / f"{run_id}.parent").exists)  # and then it sends, or hangs
    if not hang:
        _until((folder.path / "forwarded.csvplugin.Csv.json").exists)
    owner.kill()
    owner.wait()
    _until(lambda: read(folder.journal).status == "KILLED", 30)
    _until(lambda: not _alive(handle), 30)
    os.close(handle)
    if not hang:
        assert (home / "csv" / f"{run_id}.status").read_text() == "KILLED"
    os.killpg(owner.pid, signal.SIGKILL)


def _alive(handle: int) -> bool:
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_that_somebody_owns_is_not_marked(home: Path) -> None:
    with _open(home, tracking="journal") as record:
        record.start(params={}, tags={})
        with pytest.raises(RunOwned):
            mark_killed(record.folder)
        record.finish()
    assert not mark_killed(record.folder)  # read again under the lock
    shared = SharedLock(record.folder.lock).acquire()
    second = SharedLock(record.folder.lock).acquire()
    with pytest.raises(RunOwned):
        mark_killed(record.folder)
    second.release()
    shared.release()
    assert read(record.folder.journal).status == "FINISHED"


MARKER = """
# fl_platform.tracking.follower
import sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from fl_platform.tracking.lock import RunLock
with RunLock(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


@pytest.mark.parametrize("marks", [True, False])
def test_the_next_owner_waits_for_a_mark_and_not_for_a_run(home: Path, marks: bool) -> None:
    with _open(home, tracking="journal") as record:
        record.start(params={}, tags={})
        lock = record.folder.lock
    script = MARKER if marks else MARKER.replace("follower", "other")
    words = [sys.executable, "-c", script, str(home), str(lock), "0.3" if marks else "60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        if marks:
            _open(home, tracking="journal").close()
        else:
            with pytest.raises(RunOwned, match=f"process {holder.pid} "):
                _open(home, tracking="journal")
            holder.kill()


def test_a_service_that_fails_is_said_once_and_the_next_command_copies_the_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [_run(home, index) for index in range(3)]
    with monkeypatch.context() as patch:
        patch.setenv("FAIL", (folders[1].describe() or {})["run_id"])  # one folder, not the store
        for folder in folders:
            uploader.follow(home, "csvplugin.Csv", folder.path)
        uploader.finish()
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "the service is away" in told
    assert str(folders[1].path) in told
    for folder in folders:
        uploader.follow(home, "csvplugin.Csv", folder.path)
    uploader.finish()
    assert capfd.readouterr().err == ""
    assert all(_rows(home, (folder.describe() or {})["run_id"]) for folder in folders)


def _run(home: Path, index: int) -> RunFolder:
    with _open(home, f"{index:064x}"[::-1], tracking="journal") as record:
        record.start(params={}, tags={})
        record.log(0, {"test/accuracy": index / 10})
        record.finish()
        return record.folder


def test_a_process_that_dies_is_said(home: Path) -> None:
    made = Uploader(home, "csvplugin.Csv")
    folder = _run(home, 1)
    made._process.kill()
    made._process.wait()
    made.follow(folder.path)
    assert "in time" in made.wait()


def test_no_module_of_the_working_directory_is_imported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "csv", "fl_platform", "psutil", "typing"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    folder = _run(home, 1)
    uploader.follow(home, "csvplugin.Csv", folder.path)
    uploader.finish()
    assert _rows(home, (folder.describe() or {})["run_id"])
    assert not (tmp_path / "ran").exists()
