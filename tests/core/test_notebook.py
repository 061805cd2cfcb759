"""In a notebook: one output that is replaced, plain text, and no exit of the kernel."""

import io
import os
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

from fl_platform.core.notebook import NotebookLine, in_notebook
from fl_platform.core.process import Stopped, Stopper
from fl_platform.core.terminal import Terminal
from fl_platform.federated.callbacks.progress import ProgressLine


@pytest.fixture
def outputs(monkeypatch):
    """The texts of each output of a pretended kernel's cell."""
    shown = []

    def display(data, raw, display_id):
        assert raw
        assert display_id
        texts = [data["text/plain"]]
        shown.append(texts)
        return SimpleNamespace(update=lambda data, raw: texts.append(data["text/plain"]))

    ipython, inner = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    inner.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return shown


def test_a_script_and_the_shell_of_ipython_are_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    shell = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", shell)
    for without in (None, SimpleNamespace()):
        shell.get_ipython = lambda without=without: without
        assert not in_notebook()


def test_a_line_is_one_output(outputs):
    assert in_notebook()
    line = NotebookLine()
    line.show("one")
    line.show("two")
    assert outputs == [["one", "two"]]


def test_a_run_shows_one_line_without_codes(outputs, capsys):
    line = ProgressLine("a run")
    trainer = SimpleNamespace(global_step=0, max_epochs=50, callback_metrics={})
    line.on_train_start(trainer, None)
    for trainer.global_step in range(1, 51):
        line.on_train_batch_end(trainer, None, None)
    line.on_train_end(trainer, None)
    assert capsys.readouterr() == ("", "")
    (texts,) = outputs
    assert "round 50/50" in texts[-1]
    assert not any(c in text for text in texts for c in "\x1b\r\n")


def test_plain_progress_stays_lines(outputs, capsys):
    line = ProgressLine("a run", live=False)
    trainer = SimpleNamespace(global_step=0, max_epochs=1, callback_metrics={})
    line.on_train_start(trainer, None)
    trainer.global_step = 1
    line.on_train_batch_end(trainer, None, None)
    assert outputs == []
    assert capsys.readouterr().err.count("\n") == 1


def test_text_has_no_colours_although_a_kernel_asks_for_them(outputs, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    console = Terminal(file=stream)
    console.print("text", style="bold red")
    assert not console.is_terminal
    assert stream.getvalue() == "text\n"


def test_a_second_interrupt_leaves_the_kernel(outputs):
    with Stopper() as stopper:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.signal == signal.SIGINT
        with pytest.raises(Stopped, match="second signal"):
            os.kill(os.getpid(), signal.SIGINT)
