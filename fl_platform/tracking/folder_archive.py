"""One file with the content of a run folder, for a worker that shares no folder with the first."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from fl_platform.core.outside import OutsideError, open_file
from fl_platform.tracking.lock import RunLock
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder

# Locks and cursors belong to one machine; a run continues from its newest checkpoint alone.
_LEFT_OUT = {"lock", "forward.lock", "turn.lock", "checkpoint.pt.previous"}


def pack(folder: RunFolder, file: Path) -> str:
    """Write the content of ``folder`` to ``file`` while the run goes on; its SHA-256.

    The checkpoint is read first and the journal, which only grows, after it: the journal therefore
    has at least the records that the checkpoint names.
    """
    first = [folder.checkpoint, folder.journal]
    others = [path for path in sorted(folder.path.rglob("*")) if path not in first]
    with tarfile.open(file, "w") as archive:
        for path in [*first, *others]:
            name = path.relative_to(folder.path).as_posix()
            left_out = name in _LEFT_OUT or name.startswith("forwarded") or name.endswith(".tmp")
            if left_out or path.is_symlink() or not path.is_file():
                continue
            with (
                contextlib.suppress(FileNotFoundError, OutsideError),  # replaced meanwhile
                os.fdopen(open_file(path, os.O_RDONLY), "rb") as stream,
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = os.fstat(stream.fileno()).st_size, 0o600
                archive.addfile(entry, stream)
    return sha256_of(file)


def unpack(file: Path, sha256: str, folder: RunFolder, scratch: Path) -> None:
    """Replace ``folder`` by the content of ``file``, under the folder's lock.

    Args:
        scratch: an empty folder on the same file system.

    Raises:
        RecordError: a file with another SHA-256.
        RunOwned: a process of this machine executes the run.
    """
    if sha256_of(file) != sha256:
        raise RecordError(file, f"{file.name}: expected SHA-256 {sha256[:16]}, got another one.")
    fresh = scratch / "fresh"
    fresh.mkdir(mode=0o700)
    with tarfile.open(file, "r:") as archive:
        archive.extractall(fresh, filter="data")
    with RunLock(folder.create().lock):
        folder.path.rename(scratch / "old")
        RunFolder(fresh).artifacts.mkdir(exist_ok=True, mode=0o700)
        fresh.rename(folder.path)
    shutil.rmtree(scratch / "old")


def sha256_of(file: Path) -> str:
    """SHA-256 of a file of any size."""
    with os.fdopen(open_file(file, os.O_RDONLY), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
