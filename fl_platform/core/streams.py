"""Standard output and error: they never end the work, and never control the terminal.

They are the last door of all that is printed, by this package or another (logging, warnings): text
that may come from outside is cleaned here.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from fl_platform.core.text import visible

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # no reader: a closed pipe or terminal


class Guarded:
    """A text stream whose errors are stored instead of raised.

    After the first one nothing more is written. What the encoding cannot say is escaped, and
    characters that control a terminal are replaced; `raw` gives the stream without that.

    Attributes:
        error: the first error, or None.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write the clean ``text`` unless an error has occurred."""
        return self.write_raw(visible(text))

    def write_raw(self, text: str) -> int:
        """Write ``text`` as it is where that is still possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all ``lines``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush unless an error has occurred."""
        self._try(self._stream.flush)

    def _try(self, work: Any) -> None:
        if self.error is not None:
            return
        try:
            work()
        except (OSError, ValueError) as error:
            self.error = error
            self._discard()

    def _discard(self) -> None:
        """Redirect the rest to the null device: Python flushes its buffer at exit."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError, AttributeError):
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Raw:
    """A `Guarded` stream without the cleaning, for texts that are clean and codes of our own."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self.write = guarded.write_raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guarded, name)


def raw(stream: Any) -> Any:
    """``stream`` for text that is clean already and may hold codes of our own."""
    return _Raw(stream) if isinstance(stream, Guarded) else stream


def open_closed() -> None:
    """Open the null device in place of each standard stream that is closed.

    Python has no object for such a stream, and the next file that is opened, such as a journal,
    would get its number, to which libraries write their messages.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)  # a descriptor that child processes inherit
            if nowhere > 2:
                os.close(nowhere)
            os.set_inheritable(number, True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


class _Guards:
    def __init__(self) -> None:
        open_closed()
        self._before = sys.stdout, sys.stderr
        self._output = None if sys.stdout is None else Guarded(sys.stdout)
        error = None if sys.stderr is None else Guarded(sys.stderr)
        sys.stdout, sys.stderr = self._output, error

    def finish(self) -> None:
        """Restore the streams; exit with 4 if output of a successful command was lost."""
        if self._output is None:
            return
        self._output.flush()
        if sys.stderr is not None:
            sys.stderr.flush()
        error = self._output.error
        leaving = sys.exc_info()[1]
        sys.stdout, sys.stderr = self._before
        gone = error is None or getattr(error, "errno", None) in _GONE
        if not gone and isinstance(leaving, SystemExit) and leaving.code in (0, None):
            told = getattr(error, "strerror", None) or error
            print(f"fl-platform: standard output was not written: {told}", file=sys.stderr)
            sys.exit(4)


def guard_streams() -> _Guards:
    """Replace standard output and error by `Guarded` ones, until ``finish``."""
    return _Guards()
