"""Files that are complete or absent: written beside the target, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

Bytes = bytes | bytearray | memoryview


def write_atomic(target: Path, *chunks: Bytes, mode: int = 0o600) -> None:
    """Replace ``target`` by the joined ``chunks``; readers see the old file or the new one.

    File and folder are synced, so a success also survives a power failure. Every error is raised,
    and the old file is then intact. ``mode`` is limited by the process's umask.
    """
    temporary = write_beside(target, *chunks, mode=mode)
    try:
        temporary.replace(target)
    except BaseException:
        _discard(temporary)
        raise
    sync_folder(target.parent)


def write_beside(target: Path, *chunks: Bytes, mode: int = 0o600) -> Path:
    """Write and sync a temporary file, to be renamed to ``target``.

    It is in the target's folder: a rename is atomic only within one file system, and ``TMPDIR`` is
    often on another one. After an error no file remains.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        try:
            for chunk in chunks:
                write_all(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _discard(temporary)
        raise
    return temporary


def write_all(descriptor: int, chunk: Bytes) -> None:
    """Write all of ``chunk``: a single ``write`` may write a part only."""
    rest = memoryview(chunk).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in ``folder`` durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file durable that other code wrote to ``path``."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_orphans(folder: Path) -> list[Path]:
    """Remove temporary files of killed writers; only the folder's owner may call this."""
    orphans = sorted(folder.glob(".*.tmp"))
    for orphan in orphans:
        orphan.unlink(missing_ok=True)
    return orphans


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()
