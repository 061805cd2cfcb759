"""The lock of a run, which the system releases when the owning process ends."""

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

from fl_platform.core.outside import OutsideError, open_file, read_json

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MARKING = b"fl_platform.tracking.follower"  # in the command line of an uploader's process
_PROBES = 3  # a call of `is_owned` holds a shared lock for microseconds
_TURNS = 100  # repetitions if the folder was moved between opening and locking


class RunOwned(RuntimeError):  # noqa: N818 - a state, not a fault; printed by its name
    """Another process is running this run; ``owner`` has its pid, host and start."""

    def __init__(self, path: Path, owner: dict[str, Any]) -> None:
        self.owner = owner
        who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
        super().__init__(
            f"Expected a free run folder, got one owned by {who}: {path.parent}."
            " Wait for its end, or stop that process; the run then continues from its checkpoint."
        )


class CannotLock(OSError):  # noqa: N818 - a state, as RunOwned
    """A file system without locks, on which two processes could run the same run."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"Expected a file system with locks (flock), got none at {path.parent}"
            f" ({error.strerror}). Choose with --home a folder on a file system that has them,"
            " such as a local disk."
        )


class RunLock:
    """An exclusive ``flock`` with its owner's pid, host and boot id written inside.

    The kernel releases it when the holder ends, for any reason; age and status are not used.
    A lock is valid only on the file that is at ``path`` after locking: ``--restart`` moves a
    folder together with its lock.
    A forked child does not keep it: its copy of the descriptor is closed at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True if this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> RunLock:
        """Acquire the lock or raise :class:`RunOwned`, without waiting.

        Raises:
            RunOwned: another process has it.
            CannotLock: the file system has no locks.
            FileNotFoundError: no folder, or one that was just moved.
            OutsideError: not a regular file at ``path``.
        """
        if self.held:
            return self
        for _ in range(_TURNS):
            descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT)
            try:
                if not _try(descriptor, self.path):
                    raise RunOwned(self.path, read_owner(self.path))
                there = lies_at(descriptor, self.path)
                owner = {"pid": os.getpid(), **machine_identity(), "since": time.time()}
                if there:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, json.dumps(owner).encode(), 0)
            except BaseException:
                os.close(descriptor)
                raise
            if not there:
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            _LIVE.add(self)
            return self
        raise RunOwned(self.path, read_owner(self.path))

    def release(self) -> None:
        """Release the lock; the file remains, since its removal would allow two owners."""
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
    """True if a process holds the lock at ``path``."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not flock(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def in_use(path: Path) -> bool:
    """True if a process executes the run of the lock at ``path``; not for a `passing` holder."""
    return is_owned(path) and not passing(path)


def flock(descriptor: int, path: Path, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock ``descriptor``, opened at ``path``, without waiting; True on success.

    Raises:
        CannotLock: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CannotLock(path, error) from None
    return True


def lies_at(descriptor: int, path: Path) -> bool:
    """True if the file of ``descriptor`` is the present one at ``path``."""
    mine = os.fstat(descriptor)
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def read_owner(path: Path) -> dict[str, Any]:
    """The entry of the last owner; empty if there is none."""
    with contextlib.suppress(OSError, OutsideError):
        owner = read_json(path, "lock")
        if isinstance(owner, dict):
            return {key: value for key, value in owner.items() if isinstance(value, str | int)}
    return {}


def machine_identity() -> dict[str, str]:
    """Host and boot id: a pid means something only together with them."""
    boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
    return {"host": socket.gethostname(), "boot_id": boot}


def _try(descriptor: int, path: Path) -> bool:
    for probe in range(_PROBES):
        if probe:
            time.sleep(0.02)
        if flock(descriptor, path):
            return True
    return False


_LIVE: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_LIVE):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)


class SharedLock(RunLock):
    """A shared lock of a run folder: several processes hold it, and none owns the run."""

    def acquire(self) -> SharedLock:
        """Acquire a shared lock or raise :class:`RunOwned`."""
        if self.held:
            return self
        descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT)
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
        OutsideError: a link or something else lies at ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def take(path: Path, patience: float = 2.0) -> RunLock:
    """Acquire the run folder of the lock at ``path``; wait for a `passing` holder.

    Raises:
        RunOwned: another process is running the run.
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
    """True if a lock is held only briefly, by an uploader that marks an ended run KILLED.

    Also true for a holder that has not written its name yet: the name there is an ended process's.
    """
    owner = read_owner(path)
    if owner and any(owner.get(key) != value for key, value in machine_identity().items()):
        return False
    try:
        command = Path(f"/proc/{owner.get('pid')}/cmdline").read_bytes()
    except OSError:
        return Path("/proc/self").exists()
    return MARKING in command
