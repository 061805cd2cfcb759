"""The cache of compiled kernels: only what this user built is used.

Folder and file belong to the user, no other user may write to them, and a file ends in the SHA-256
of what was built. Any other file is built again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

LARGEST = 2**26  # bytes of a file
SEAL = b"fl_platform kernel\0"  # before the digest at the end, which a loader of ELF passes over


def own_folder() -> Path:
    """The cache's folder, made if need be.

    Raises:
        OSError: it is another user's, or others may write to it.
        RuntimeError: there is no home to put it in.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fl_platform"
    folder = Path(os.environ.get("FL_PLATFORM_NATIVE_CACHE") or default / "native")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _own(folder.lstat()) or folder.is_symlink():
        raise OSError(f"{folder}: expected a folder of this user that no other may write to")
    return folder


def open_own(target: Path) -> int | None:
    """A descriptor of the file at ``target``; None where it is not what this user built."""
    found = _checked(target)
    return None if found is None else found[0]


def read_own(target: Path) -> bytes | None:
    """What was built at ``target``; None where it is not what this user built."""
    found = _checked(target)
    if found is None:
        return None
    os.close(found[0])
    return found[1]


def keep_own(target: Path, built: bytes) -> None:
    """Write ``built`` and its digest beside ``target`` and rename: others see all or nothing."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        file = Path(folder) / "kernel"
        file.write_bytes(built + SEAL + hashlib.sha256(built).digest())
        file.chmod(0o700)
        file.replace(target)


def _checked(target: Path) -> tuple[int, bytes] | None:
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and _own(status) and status.st_size < LARGEST:
        content = os.pread(descriptor, status.st_size, 0)
        built, sealed, digest = content.rpartition(SEAL)
        if sealed and hashlib.sha256(built).digest() == digest:
            return descriptor, built
    os.close(descriptor)
    return None


def _own(status: os.stat_result) -> bool:
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.geteuid() and not status.st_mode & others
