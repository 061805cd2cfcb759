"""What is only shown never decides whether work goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fl_platform.console import show_result
from fl_platform.core.process import Stopper
from fl_platform.core.streams import Guarded
from fl_platform.federated.callbacks.progress import ProgressLine
from fl_platform.report.figures.embedding import cloud_figure, embedded
from fl_platform.report.figures.style import save
from fl_platform.run.result import finished
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.run_folder import run_folder
from tests.faults.conftest import REPOSITORY
from tests.faults.test_records import HASH, train

PRINTER = """
import sys
from fl_platform import cli
from fl_platform.core.streams import guard_streams
def app():
    for line in range(3000):
        print("line β", line)
        print("line β", line, file=sys.stderr)
    open(sys.argv[1], "w").write("done")
    raise SystemExit(0)
cli.app = app
cli.main()
"""


def printer(mark: Path, tail: str, **env: str) -> int:
    program = mark.with_name("program.py")
    program.write_text(PRINTER, encoding="utf-8")
    line = f"set -o pipefail; {sys.executable} {program} {mark} {tail}"
    settings = {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}
    nowhere = subprocess.DEVNULL
    done = subprocess.run(
        ["bash", "-c", line], env=settings, check=False, stdout=nowhere, stderr=nowhere
    )
    return done.returncode


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        ("2>&1 | head -1", 0),
        ("| true", 0),
        ("2>/dev/full", 0),
        (">&- 2>&-", 0),
        (">/dev/full", 4),  # asked for, and not written: no success
    ],
)
def test_the_work_is_done_whatever_becomes_of_its_lines(tmp_path, tail, code):
    assert printer(tmp_path / "mark", tail) == code
    assert (tmp_path / "mark").read_text() == "done"


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}])
def test_a_terminal_that_knows_ascii_only_gets_escapes(tmp_path, env):
    assert printer(tmp_path / "mark", "", **env) == 0
    assert (tmp_path / "mark").exists()


CLOSED = """
import os, subprocess, sys
from fl_platform.core.streams import guard_streams

guard_streams()
with open(sys.argv[1], "w", encoding="utf-8") as file:
    assert file.fileno() > 2  # libraries write their messages to 1 and 2
    print("to nobody")
    print("to nobody", sys.stderr.isatty(), file=sys.stderr)
    os.write(2, b"to nobody")
    subprocess.run([sys.executable, "-c", "print(1)"], check=True)
    file.write("done")
"""


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&- 2>&-", "<&- 2>&-", ">&-"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path, closed):
    program, mark = tmp_path / "program.py", tmp_path / "mark"
    program.write_text(CLOSED, encoding="utf-8")
    line = f"{sys.executable} {program} {mark} {closed}"
    settings = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(["bash", "-c", line], env=settings, check=True)
    assert mark.read_text() == "done"


class Full:
    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_progress_line_that_cannot_be_written_is_given_up():
    for live in (True, False):
        line = ProgressLine("run", stream=Full(), live=live)
        line._write("round 1", end="\n")
        line.on_train_end(None, None)
        assert line._lost
    assert Guarded(Full()).write("text") == 4


def test_a_closed_terminal_asks_to_stop_and_an_ignored_one_does_not():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Stopper() as stopper:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stopper.signal == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with Stopper() as stopper:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stopper.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="SIGHUP is ignored, as under nohup"
)
def test_a_closed_terminal_leaves_a_checkpoint_and_its_own_code(zygote, home, tmp_path):
    line = ["run", "task=digits", "attack=lie", "defense=median", "rounds=4000", "task.clients=12",
            "runtime.tracking=journal", "--home", str(home)]  # fmt: skip
    child = zygote.start(*line, out=tmp_path, patch={"commit_every": 0})
    folder = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder and folder[0].exists()):
        folder = [p / "checkpoint.pt" for p in (home / "mlruns" / "runs").glob("*")]
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGHUP)
    assert child.finish() == 129, child.text
    assert "KILLED" in child.text


def test_a_cloud_that_cannot_be_drawn_takes_no_other_away(tmp_path):
    good = np.diag(np.arange(1.0, 9.0))
    cloud = {"labels": ["honest"] * 6 + ["byzantine", "mean"], "step": 1, "name": "run"}
    few = {"gram": np.eye(5), "labels": ["honest"] * 3 + ["byzantine", "mean"], "step": 2}
    infinite = {**cloud, "gram": np.full((8, 8), np.inf), "step": 3}
    drawn, left_out = embedded([{**cloud, "gram": good}, few, infinite])
    assert [text.partition(":")[0] for text in left_out] == ["round 2", "round 3"]
    figure = cloud_figure(drawn)
    assert sum(axes.get_visible() for axes in figure.axes) == 1
    assert save(figure, tmp_path / "cloud", ("png",)) == [tmp_path / "cloud.png"]


def test_a_cloud_of_another_run_is_left_out(tmp_path, caplog):
    from fl_platform.grid.results import clouds
    from fl_platform.tracking import frames
    from tests.faults.test_records import begin

    kept = {"num_honest": 6, "skewed": np.array([1])}
    with begin(tmp_path) as record:
        file = record.folder.artifacts / "cloud_00001.npz"
        np.savez(file, gram=np.eye(8), **kept)
        record.start(params={}, tags={"attack": "none"})
        record.finish("FINISHED", {"rounds": 1})
    frame = frames.runs(tmp_path, "folders")
    assert [cloud["step"] for cloud in clouds(tmp_path, frame)] == [1]
    np.savez(file, gram=2 * np.eye(8), **kept)
    assert clouds(tmp_path, frame) == []
    assert "cloud_00001.npz: expected the digest in the run's journal" in caplog.text


def test_reports_written_at_once_do_not_disturb_each_other(tmp_path):
    """Each file is replaced whole: nobody ever sees half a picture."""
    from matplotlib.figure import Figure
    from PIL import Image

    def figure() -> Figure:
        made = Figure(figsize=(2, 2))
        made.add_subplot().plot([1, 2])
        return made

    save(figure(), tmp_path / "it", ("png",))
    child = os.fork()
    if child == 0:
        for _ in range(12):
            save(figure(), tmp_path / "it", ("png",))
        os._exit(0)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        with Image.open(tmp_path / "it.png") as image:
            image.load()
    assert [path.name for path in tmp_path.iterdir()] == ["it.png"]


def test_alarms_are_shown(tmp_path, capsys):
    from fl_platform.grid.results import tables_of
    from fl_platform.tracking import frames

    train(tmp_path)
    journal = Journal(run_folder(tmp_path, HASH).journal)
    with pytest.warns(UserWarning, match="test/accuracy"):
        journal.metrics(1, {"test/accuracy": 0.9})
    journal.note("tags", values={"attack": "none", "defense": "mean", "task": "digits"})
    journal.close()
    show_result(finished(tmp_path, HASH))
    assert "ALARM" in capsys.readouterr().out
    frame = frames.runs(tmp_path, "folders")
    frame = frame.assign(variant=frames.variants(frame)).drop(columns="parameters")
    notes = [note for table in tables_of(frame) for note in table.notes]
    assert any(note.startswith("ALARM: 1 of these runs") for note in notes)
