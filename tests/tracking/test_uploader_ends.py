"""The uploader ends, whatever is raised where: here and in its process; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from fl_platform.tracking import uploader
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs
from fl_platform.tracking.uploader import Uploader
from tests.tracking.test_uploader import PLUGIN, _open, _rows, _run

# Replaces a function of the uploader's process by one that raises.
PLANT = """
import fl_platform.tracking.follower as holder
def fail(*_, **__): raise ZeroDivisionError("planted")
*path, last = "{}".split(".")
for each in path: holder = getattr(holder, each)
setattr(holder, last, fail)
"""
STEPS = ["listen", "work", "_look", "_copy", "_pending", "_leave_within"]
STEPS = [*(f"Follower.{step}" for step in STEPS), "Export", "pending", "is_owned"]
NAME = "csvplugin.Csv"
LATE = pytest.param(True, marks=pytest.mark.nightly)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "csvplugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(home))
    return home


def plant(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before, after = uploader._START.split(" from fl_platform.tracking.follower")
    code = f"{before} exec({PLANT.format(step)!r});"
    monkeypatch.setattr(uploader, "_START", f"{code} from fl_platform.tracking.follower{after}")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("killed", [False, LATE])
def test_an_exception_in_its_process_ends_it_and_the_next_command_copies_the_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], step, killed
) -> None:
    """Ended by itself, also where the command has gone without a word."""
    folder = _run(home, 1)
    run_id = (folder.describe() or {})["run_id"]
    with monkeypatch.context() as planted:
        plant(planted, step)
        made = Uploader(home, NAME)
        made.follow(folder.path)
        if killed:
            made.close()
        else:
            made.end()
        made._process.wait(60)  # it drains for five seconds; the rest is for a busy machine
    if not killed:
        told = made.wait()
        if told:
            assert "planted" in told
            assert "runs sync" in told
        else:  # all was copied before
            assert _rows(home, run_id)
    uploader.follow(home, NAME, folder.path)
    uploader.finish()
    assert capfd.readouterr().err == ""
    assert _rows(home, run_id)


def a_run_with_its_uploads(home: Path) -> None:
    try:
        with _open(home) as record:
            record.start(params={}, tags={})
            record.finish()
    finally:
        uploader.finish()


@pytest.mark.parametrize("step", ["__init__", "follow", "end", "wait", "_say", "_missed"])
@pytest.mark.parametrize(
    "error", [ZeroDivisionError, pytest.param(KeyboardInterrupt, marks=pytest.mark.nightly)]
)
def test_an_exception_in_the_command_leaves_a_true_status_and_no_process(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    before = set(psutil.Process().children(recursive=True))

    def fail(*_: object, **__: object) -> None:
        raise error("planted")

    with monkeypatch.context() as planted:
        planted.setattr(Uploader, step, fail)
        with pytest.raises(error, match="planted"):
            a_run_with_its_uploads(home)
    (folder,) = all_runs(home)
    early = step in ("__init__", "follow", "_say")
    failed = "KILLED" if error is KeyboardInterrupt else "FAILED"
    assert read(folder.journal).status == (failed if early else "FINISHED")
    left = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(left, timeout=5.0)[1]
    uploader.follow(home, NAME, folder.path)
    uploader.finish()
    run_id = (folder.describe() or {})["run_id"]
    assert (home / "csv" / f"{run_id}.status").exists()
