"""The line of a run: rewritten where the terminal can do that, plain lines where it cannot."""

import io
from types import SimpleNamespace

import pytest

from fl_platform.federated.callbacks.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "term", "live"),
    [(Terminal, "xterm", True), (Terminal, "dumb", False), (io.StringIO, "xterm", False)],
)
def test_only_a_terminal_that_can_is_sent_codes(monkeypatch, stream, term, live):
    monkeypatch.setenv("TERM", term)
    line = ProgressLine("a run", stream=stream())
    trainer = SimpleNamespace(global_step=0, max_epochs=2, callback_metrics={})
    line.on_train_start(trainer, None)
    for trainer.global_step in (1, 2):
        line.on_train_batch_end(trainer, None, None)
    line.on_train_end(trainer, None)
    text = line.stream.getvalue()
    assert "round 2/2" in text
    assert ("\x1b" in text) == live


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_a_live_line_is_never_wider_than_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    line = ProgressLine("digits strike(nu=0.75) vs nnm + centered_clipping " * 2, stream=Terminal())
    trainer = SimpleNamespace(global_step=0, max_epochs=2, callback_metrics={"test/accuracy": 0.5})
    line.on_train_start(trainer, None)
    for trainer.global_step in (1, 2):
        line.on_train_batch_end(trainer, None, None)
    shown = line.stream.getvalue().split("\r\x1b[2K")[1:]
    assert shown
    assert max(map(len, shown)) < columns
    assert columns < 80 or "round 2/2  accuracy 50.00 %" in shown[-1]
