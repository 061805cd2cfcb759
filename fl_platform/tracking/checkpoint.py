"""One file a commit, holding everything, known whole by its digest before it is unpickled."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fl_platform.core.text import reason
from fl_platform.tracking.atomic import sync_folder, write_beside

NAME = "checkpoint.pt"
_MAGIC = b"fl_platform checkpoint 1\n"
_HEADER = len(_MAGIC) + 32  # magic, then SHA-256 of the payload

log = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """No checkpoint could be used; the message names each file and what is wrong with it."""


class CheckpointFile:
    """The checkpoint at ``path`` and its predecessor beside it.

    A commit renames the current file to ``<name>.previous`` and the new one into its place. A
    stop between the two leaves the predecessor alone, which is the old state. A current file
    that is damaged never replaces a good predecessor.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.previous = self.path.with_name(self.path.name + ".previous")
        self._intact: tuple[int, int, int] | None = None

    def exists(self) -> bool:
        """Whether there is anything to resume from, or to complain about."""
        return self.path.exists() or self.previous.exists()

    def save(self, state: Mapping[str, Any]) -> None:
        """Commit ``state`` (tensors and plain Python); on any error the old state stays."""
        payload = io.BytesIO()
        torch.save(dict(state), payload)
        body = payload.getbuffer()
        header = _MAGIC + hashlib.sha256(body).digest()
        fresh = write_beside(self.path, header, body)
        try:
            if self._current_is_intact():
                self.path.replace(self.previous)
            fresh.replace(self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)
        self._intact = _fingerprint(self.path)

    def load(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The newest intact state, verified before anything is unpickled.

        Falls back to the predecessor with a warning that names the damaged file.

        Raises:
            FileNotFoundError: there is no checkpoint.
            CheckpointError: there are files and none can be used; nothing was changed.
        """
        faults: list[str] = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = _unpickle(_verified(path), path, map_location)
            except CheckpointError as fault:
                faults.append(str(fault))
                continue
            if faults:
                log.warning("%s Continuing from the previous one, %s.", faults[0], path.name)
            elif path == self.path:
                self._intact = _fingerprint(path)
            return state
        if not faults:
            raise FileNotFoundError(f"Expected a checkpoint, got no file at {self.path}.")
        raise CheckpointError(
            " ".join(faults) + " Nothing was overwritten: restore a copy of the file,"
            " or start the run afresh (--fresh)."
        )

    def remove(self) -> None:
        """Remove the checkpoint and its predecessor."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)

    def _current_is_intact(self) -> bool:
        if not self.path.exists():
            return False
        if self._intact == _fingerprint(self.path):
            return True
        try:
            _verified(self.path)
        except CheckpointError:
            return False
        return True


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Commit ``state`` as ``folder``'s checkpoint; see :class:`CheckpointFile`."""
    CheckpointFile(folder / NAME).save(state)


def load(folder: Path) -> dict[str, Any]:
    """The newest intact state in ``folder``; see :meth:`CheckpointFile.load`."""
    return CheckpointFile(folder / NAME).load()


def weights_sha256(weights: Tensor) -> str:
    """SHA-256 of the tensor's bytes in C order: ``sha256(weights.numpy().tobytes())``."""
    flat = weights.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _fingerprint(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _verified(path: Path) -> memoryview:
    """The payload of ``path``, whose digest was found right."""
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"Cannot read checkpoint {path}: {error}.") from error
    header, payload = content[:_HEADER], content[_HEADER:]
    if len(header) < _HEADER or header[: len(_MAGIC)] != _MAGIC:
        raise CheckpointError(f"Expected a checkpoint of this platform, got other bytes in {path}.")
    if hashlib.sha256(payload).digest() != header[len(_MAGIC) :]:
        raise CheckpointError(f"Checkpoint {path} is damaged: its SHA-256 does not fit.")
    return payload


def _unpickle(payload: memoryview, path: Path, map_location: Any) -> dict[str, Any]:
    """Load tensors and plain Python only: a right digest says whole, it does not say friendly."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = archive.infolist()
        # torch writes stored members; a compressed one could grow a thousandfold in memory
        if any(m.compress_type != zipfile.ZIP_STORED for m in members):
            raise ValueError("a compressed member")
        if sum(m.file_size for m in members) > len(payload):
            raise ValueError("members larger than the file")
        state = torch.load(io.BytesIO(payload), map_location=map_location, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"Checkpoint {path} was refused: {reason(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"Expected a dictionary in checkpoint {path}, got {type(state)}.")
    return state
