"""Progress of a run: one live line, or plain lines where nothing can be rewritten."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO

from lightning.pytorch import Callback, LightningModule, Trainer

from fl_platform.core.notebook import NotebookLine, in_notebook
from fl_platform.core.streams import raw
from fl_platform.core.text import printable


class ProgressLine(Callback):
    """Round, accuracy, seconds per round and the remaining time.

    An error of the output never ends a run: if a line cannot be written, no further one is.

    On a terminal and in a notebook the line is rewritten in place, at most ten times per second;
    otherwise about ten lines are printed per run, and one every ten seconds in a slow one.

    Args:
        label: name of the run, at the start of the line.
        stream: stream of the line; by default standard error, to keep standard output clean.
        live: rewrite the line in place; ``None``: where that is possible.
    """

    def __init__(self, label: str, stream: TextIO | None = None, live: bool | None = None) -> None:
        self.label = printable(label)  # a name may hold terminal codes
        self.stream = raw(stream or sys.stderr)
        inside = stream is None and live is not False and in_notebook()
        self._cell = NotebookLine() if inside else None
        able = inside or (self.stream.isatty() and os.environ.get("TERM") != "dumb")
        self.live = able if live is None else live
        self._first: tuple[float, int] | None = None
        self._printed = 0.0
        self._lost = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the first round of this process, which after a resume is not round 0."""
        self._first = (time.monotonic(), trainer.global_step)
        self._printed = time.monotonic()
        if trainer.global_step:
            self._write(f"{self.label}: continuing after round {trainer.global_step}", end="\n")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, *_: object
    ) -> None:
        """Rewrite the line, or print one, if it is due."""
        assert self._first is not None
        started, first = self._first
        done, total = trainer.global_step, trainer.max_epochs or 0
        value = trainer.callback_metrics.get("test/accuracy")
        accuracy = "" if value is None else f"  accuracy {100 * float(value):5.2f} %"
        now = time.monotonic()
        waited = now - self._printed
        tenth = done * 10 // total > (done - 1) * 10 // total
        if not (done == total or (waited > 0.1 if self.live else tenth or waited > 10)):
            return
        self._printed = now
        pace = (now - started) / max(done - first, 1)
        text = f"  round {done}/{total}{accuracy}  {pace:.3g} s a round"
        left = pace * (total - done)
        text += f"  {left // 60:.0f}:{left % 60:02.0f} left" if left else ""
        self._write(self._fitted(text), end="" if self.live else "\n")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the last line."""
        if self.live and self._cell is None:
            self._write("", end="\n", clear=False)

    def _fitted(self, text: str) -> str:
        """Label and ``text``, cut to the terminal's width: a wrapped line cannot be rewritten."""
        if not self.live or self._cell is not None:
            return self.label + text
        width = shutil.get_terminal_size().columns - 1
        room = width - len(text)
        label = self.label if len(self.label) <= room else f"{self.label[: max(room - 1, 0)]}…"
        return (label + text)[: max(width, 1)]

    def _write(self, text: str, end: str, clear: bool = True) -> None:
        if self._lost:
            return
        if self._cell is not None:
            self._cell.show(text)
            return
        try:
            self.stream.write(f"\r\x1b[2K{text}{end}" if self.live and clear else f"{text}{end}")
            self.stream.flush()
        except (OSError, ValueError):  # a closed terminal or pipe, a full disk
            self._lost = True


__all__ = ["ProgressLine"]
