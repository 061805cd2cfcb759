"""Who owns a run: a lock that dies with its holder, so a dead owner is replaced at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MARKING = b"fl_platform.tracking.follower"  # in the command line of an uploader's process
_PROBES = 3  # somebody asking `is_owned` holds a shared lock for microseconds


class RunOwned(RuntimeError):  # noqa: N818 - a state of the world, told to the user by its name
    """Another living process works on this run; ``owner`` says which (pid, host, since)."""

    def __init__(self, path: Path, owner: dict[str, Any]) -> None:
        self.owner = owner
        who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
        super().__init__(
            f"Expected a free run folder, got one owned by {who}: {path.parent}."
            " Wait for it to end, or stop that process; the run then continues from its checkpoint."
        )


class RunLock:
    """An exclusive ``flock`` with its owner's pid, host and boot id written inside.

    The kernel releases it when the holder ends, however it ends; age and status say nothing.
    A forked child does not keep it: its copy of the descriptor is closed at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> RunLock:
        """Take the lock now or raise :class:`RunOwned`; never waits for another run."""
        if self.held:
            return self
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try(descriptor):
                raise RunOwned(self.path, read_owner(self.path))
            owner = {"pid": os.getpid(), **machine_identity(), "since": time.time()}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _LIVE.add(self)
        return self

    def release(self) -> None:
        """Give the lock back; the file stays, as removing it would let two owners in."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> RunLock:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_owned(path: Path) -> bool:
    """Whether a living process holds the lock at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_owner(path: Path) -> dict[str, Any]:
    """What the last owner wrote; empty where it wrote nothing."""
    with contextlib.suppress(OSError, ValueError):
        owner = json.loads(path.read_text())
        if isinstance(owner, dict):
            return owner
    return {}


def machine_identity() -> dict[str, str]:
    """Host and boot id: a pid means something only together with them."""
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    return {"host": socket.gethostname(), "boot_id": boot}


def _try(descriptor: int) -> bool:
    for probe in range(_PROBES):
        if probe:
            time.sleep(0.02)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


_LIVE: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_LIVE):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)


class SharedLock(RunLock):
    """A share of a run folder's lock: several processes hold it together, and none owns it."""

    def acquire(self) -> SharedLock:
        """Take a share now or raise :class:`RunOwned`."""
        if self.held:
            return self
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise RunOwned(self.path, read_owner(self.path)) from None
            raise
        self._descriptor = descriptor
        _LIVE.add(self)
        return self


@contextlib.contextmanager
def alone(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file at ``path``: one process of this machine at a time.

    Raises:
        BlockingIOError: another process holds it and ``wait`` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def take(path: Path, patience: float = 2.0) -> RunLock:
    """Own the run folder of the lock at ``path``; waits for a holder that is just `passing`.

    Raises:
        RunOwned: a living process works on the run.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return RunLock(path).acquire()
        except RunOwned:
            if time.monotonic() > end or not passing(path):
                raise
            time.sleep(0.02)


def passing(path: Path) -> bool:
    """Whether the holder of a lock has it for a moment: an uploader that marks a dead run KILLED.

    So has a holder that has not written its name yet: the name there is of a dead process.
    """
    owner = read_owner(path)
    if owner and any(owner.get(key) != value for key, value in machine_identity().items()):
        return False
    try:
        command = Path(f"/proc/{owner.get('pid')}/cmdline").read_bytes()
    except OSError:
        return Path("/proc/self").exists()
    return MARKING in command
