"""State of files without reading them: name, size and time of the last change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[str, int, int]  # absolute path, bytes, nanoseconds since 1970


def stamps(paths: Iterable[Path]) -> tuple[Stamp, ...]:
    """One stamp per path, in order; a folder's stamp changes when a file is added or removed.

    A path that cannot be examined has -1 bytes; reading it then raises the error.
    """
    return tuple(_stamp(path.absolute()) for path in paths)


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, 0
    return str(path), stat.st_size, stat.st_mtime_ns
