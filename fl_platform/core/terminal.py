"""Rich's console for what this program prints: texts are literal, and never control a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console
from rich.segment import Segment

from fl_platform.core.notebook import in_notebook
from fl_platform.core.streams import raw
from fl_platform.core.text import visible


class Terminal(Console):
    """A console that shows texts as they are: no markup, no terminal codes, no hidden characters.

    Colours come from styles (`rich.text.Text`), never from what is written in a text. In a notebook
    the text is plain, although a kernel's environment asks for colours.

    Args:
        error: write to standard error in place of standard output.
        settings: of `rich.console.Console`.
    """

    def __init__(self, *, error: bool = False, **settings: Any) -> None:
        if in_notebook():
            settings = {"force_terminal": False, "force_jupyter": False, **settings}
        super().__init__(stderr=error, markup=False, emoji=False, highlight=False, **settings)

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Segments of anything that is printed, cleaned; rich's own control codes stay."""
        for segment in super().render(*arguments, **options):
            clean = segment.control or segment.text.isprintable()
            yield segment if clean else segment._replace(text=visible(segment.text))

    @property
    def file(self) -> IO[str]:
        """The stream, without its own cleaning: colours are codes."""
        stream: IO[str] = raw(super().file)
        return stream

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream


def wide_output() -> Terminal:
    """Standard output; as wide as a table needs where it is a file or a pipe."""
    return Terminal(width=None if sys.stdout.isatty() else 160)
