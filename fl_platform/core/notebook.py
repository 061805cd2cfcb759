"""A notebook's output area: whether there is one, and a line that is replaced in place."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def in_notebook() -> bool:
    """True in the kernel of a notebook; False in a script, a terminal and IPython's shell."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookLine:
    """One output of the current cell, replaced by each call of `show`.

    The stored notebook keeps the last text only, without carriage returns or terminal codes.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Display ``text`` in place of the text before."""
        shown = {"text/plain": text}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
