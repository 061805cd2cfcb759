"""One file per commit with the whole state; its digest is verified before it is unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor

from fl_platform.core.outside import OutsideError, open_file, parse_json
from fl_platform.core.text import reason
from fl_platform.tracking.atomic import sync_folder, write_beside
from fl_platform.tracking.records import Stamp, described

NAME = "checkpoint.pt"
_FIRST = b"fl_platform checkpoint 1\n"  # then SHA-256 of the payload, payload
_MAGIC = b"fl_platform checkpoint 2\n"  # then SHA-256 of the rest, a line of JSON, payload
_HEADER = len(_MAGIC) + 32
_LONGEST = 4096  # maximum bytes of a stamp

log = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """No usable checkpoint; the message names each file and its fault."""


class Stamping(Protocol):
    """The run of the checkpoints; see `stamp.Stamper`."""

    def make(self) -> dict[str, Any]:
        """The stamp of a new checkpoint."""

    def misfit(self, path: Path, stamp: Mapping[str, Any] | None) -> str:
        """The reason why a checkpoint is not one of this run; empty if it is."""


def is_committed(path: Path) -> bool:
    """True if ``path`` is a file of `CheckpointFile`, not one of ``torch.save``."""
    if not path.is_file():
        return False
    with os.fdopen(open_file(path.resolve(), os.O_RDONLY), "rb") as file:
        return file.read(len(_MAGIC)) in (_MAGIC, _FIRST)


def refuse_code(weights_only: bool | None) -> None:
    """Refuse ``weights_only=False``, which would run code from a checkpoint.

    Raises:
        ValueError: it is False; ``None`` means True.
    """
    if weights_only is False:
        raise ValueError(
            "Expected weights_only=True, got False, which would run code from the file."
        )


class CheckpointFile:
    """The checkpoint at ``path`` and its predecessor beside it.

    A commit renames the current file to ``<name>.previous`` and the new one to its name. After a
    stop between the two, only the predecessor exists, which is the old state. A current file that
    is damaged or of another run never replaces a good predecessor.

    Args:
        path: path of the current file.
        stamping: the run of the checkpoints; None for files without a run.
    """

    def __init__(self, path: Path | str, stamping: Stamping | None = None) -> None:
        self.path = Path(path)
        self.stamping = stamping
        self.previous = self.path.with_name(self.path.name + ".previous")
        self._intact: tuple[int, int, int] | None = None

    def exists(self) -> bool:
        """True if there is a file, usable or not."""
        return self.path.exists() or self.previous.exists()

    def save(self, state: Mapping[str, Any]) -> None:
        """Commit ``state`` (tensors and plain Python); after an error the old state remains."""
        payload = io.BytesIO()
        torch.save(dict(state), payload)
        body = payload.getbuffer()
        stamp = b"" if self.stamping is None else json.dumps(self.stamping.make()).encode()
        digest = hashlib.sha256(stamp + b"\n")
        digest.update(body)
        fresh = write_beside(self.path, _MAGIC + digest.digest(), stamp + b"\n", body)
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
        """The newest intact state of the run, verified before it is unpickled.

        Falls back to the predecessor with a warning that names the file and its fault.

        Raises:
            FileNotFoundError: there is no checkpoint.
            CheckpointError: none of the files is usable; no file was changed.
        """
        faults: list[str] = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = _unpickle(self._verified(path), path, map_location)
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
            " or restart the run (--restart)."
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
            self._verified(self.path)
        except CheckpointError:
            return False
        return True

    def _verified(self, path: Path) -> memoryview:
        """The payload of ``path``, with verified digest and stamp of this run."""
        stamp, payload = _intact(path)
        if self.stamping is not None:
            problem = self.stamping.misfit(path, stamp)
            if problem:
                raise CheckpointError(problem)
        return payload


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


def _intact(path: Path) -> tuple[dict[str, Any] | None, memoryview]:
    """Stamp and payload of ``path``, with verified digest."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as stream:
            content = memoryview(stream.read())
    except OutsideError as error:
        raise CheckpointError(f"Cannot read a checkpoint: {error}") from None
    except OSError as error:
        raise CheckpointError(f"Cannot read checkpoint {path}: {error}.") from error
    header, rest = content[:_HEADER], content[_HEADER:]
    if len(header) < _HEADER or header[: len(_MAGIC)] not in (_MAGIC, _FIRST):
        raise CheckpointError(f"Expected a checkpoint of this platform, got other bytes in {path}.")
    if hashlib.sha256(rest).digest() != header[len(_MAGIC) :]:
        raise CheckpointError(f"Checkpoint {path} is damaged: its SHA-256 is wrong.")
    if header[: len(_MAGIC)] == _FIRST:
        return None, rest
    line = bytes(rest[:_LONGEST]).partition(b"\n")[0]
    return _stamp(line, path), rest[len(line) + 1 :]


def _stamp(line: bytes, path: Path) -> dict[str, Any] | None:
    if not line:
        return None
    try:
        stamp: dict[str, Any] = parse_json(line, f"the stamp of {path}")
        Stamp.model_validate(stamp)
    except OutsideError as error:
        raise CheckpointError(f"{error}.") from None
    except ValidationError as error:
        raise CheckpointError(f"Expected a stamp in {path}, got: {described(error)}.") from None
    return stamp


def _unpickle(payload: memoryview, path: Path, map_location: Any) -> dict[str, Any]:
    """Load tensors and plain Python only: the digest proves integrity, not origin."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = archive.infolist()
        # torch writes uncompressed members; a compressed one can expand a thousandfold in memory
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
