"""The uploader's process: reads names of run folders, follows their journals, ends in time."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fl_platform.core.text import reason
from fl_platform.tracking.exporter import Export, UploadBusy, pending
from fl_platform.tracking.history import UNEXPECTED
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.lock import RunLock, RunOwned, is_owned
from fl_platform.tracking.run_folder import RunFolder, head
from fl_platform.tracking.uploader import DRAIN, HURRY, LONGEST, OPENING

INTERVAL = 1.0  # seconds between two reads of the journals
GIVE_UP = 8  # consecutive failures of the store: about three minutes
TRIES = 3  # failures of one folder
SHARE = 4.0  # pause after a read, as a multiple of its time


class Follower:
    """Follower of the journals of the runs that the command names through a pipe.

    Args:
        interval: seconds between two reads.
    """

    def __init__(self, home: Path, name: str, interval: float = INTERVAL) -> None:
        self.home, self.name, self.interval = home, name, interval
        self.fault = ""
        self._folders: dict[Path, None] = {}
        self._failures: Counter[Path] = Counter()
        self._ended = threading.Event()
        self._export: Export | None = None
        self._last = math.inf  # latest end, on the monotonic clock
        self._strict = False  # progress does not extend the time

    def listen(self, lines: Iterable[bytes]) -> None:
        """Read names until the command ends, or its end of the pipe closes."""
        for line in lines:
            word, *rest = json.loads(line)
            if word == "follow":
                self._folders[Path(rest[0])] = None
                continue
            if word == "hurry":
                self._leave_within(HURRY, strict=True)
            else:
                self._leave_within(OPENING if self._export is None else DRAIN)
            self._ended.set()
            return
        self._leave_within(DRAIN, strict=True)
        self._mark_killed()
        self._ended.set()

    def end(self, fault: str) -> None:
        """Copy what is pending and return from `work`, because of ``fault``."""
        self.fault = fault
        self._ended.set()

    def work(self) -> None:
        """Copy new records until the end, or until the store fails too often."""
        failures, rest = 0, self.interval
        while failures < GIVE_UP:
            last, began = self._ended.is_set(), time.monotonic()
            worked = self._look()
            failures = 0 if worked else failures + 1
            rest = self.interval if worked else min(2 * rest, 60.0)
            if last and (failures > 1 or not any(map(self._pending, list(self._folders)))):
                return
            if last:
                time.sleep(0.2)
            else:
                self._ended.wait(max(rest, SHARE * (time.monotonic() - began)))

    def _look(self) -> bool:
        """Copy the new records of every journal; False if all copies failed."""
        try:
            if self._export is None:
                self._export = Export(self.home, self.name, progress=self._progressed)
                self._progressed()
        except Exception as error:  # any error of a server, a plug-in or a disk
            self.fault = reason(error)
            return False
        good, bad = 0, []
        for path in list(self._folders):
            try:
                good += self._copy(RunFolder(path), self._export)
            except UploadBusy as error:
                self.fault = str(error)
            except Exception as error:
                self.fault = reason(error)
                bad.append(path)
                if len(bad) >= TRIES:  # a fault of the store, not of a folder
                    break
        if good:
            for path in bad:
                self._failures[path] += 1
                if self._failures[path] >= TRIES:  # a fault of the folder, not of the store
                    self._folders.pop(path, None)
        return not bad or good > 0

    def _copy(self, folder: RunFolder, export: Export) -> bool:
        """True if there was something to copy; a finished and copied run is dropped."""
        if not folder.identity_file.exists():
            return False
        owned = is_owned(folder.lock)
        if pending(folder, self.name, export.exporter.address):
            export.upload(folder)
            return True
        if not owned and folder.journal.exists():
            self._folders.pop(folder.path, None)
        return False

    def _pending(self, path: Path) -> bool:
        try:
            return pending(RunFolder(path), self.name)
        except (OSError, RuntimeError):
            return True

    def _mark_killed(self) -> None:
        """Write KILLED for each run whose owner ended with the command."""
        left = list(self._folders)
        for _ in range(20):  # the system closes the files of an ended process one after another
            left = [path for path in left if not _marked(RunFolder(path))]
            if not left:
                return
            time.sleep(0.05)

    def _progressed(self) -> None:
        if self._ended.is_set() and not self._strict:
            self._leave_within(DRAIN)

    def _leave_within(self, seconds: float, *, strict: bool = False) -> None:
        """Set a timer of the system that ends this process, even inside a blocked call."""
        now = time.monotonic()
        self._last = min(self._last, now + OPENING + LONGEST)
        self._strict = self._strict or strict
        signal.setitimer(signal.ITIMER_REAL, max(0.01, min(seconds, self._last - now)))


def mark_killed(folder: RunFolder) -> bool:
    """Write KILLED for a run with status RUNNING and without owner; True if it was one.

    Raises:
        RunOwned: a running process owns it.
    """
    if not folder.journal.exists():
        return False
    with RunLock(folder.lock):
        if read(folder.journal).status != "RUNNING":
            return False
        journal = Journal(folder.journal, head(folder.describe() or {}))
        journal.note("status", status="KILLED", reason=UNEXPECTED)
        journal.close()
        return True


def _marked(folder: RunFolder) -> bool:
    """True if nothing in ``folder`` has to be marked, now or later."""
    try:
        mark_killed(folder)
    except RunOwned:
        return False
    except (OSError, RuntimeError):
        return True
    return True


def _listen(follower: Follower, lines: Iterable[bytes]) -> None:
    """Listen; an error ends this process in time, as it could not notice the command's end."""
    try:
        follower.listen(lines)
    except Exception as error:
        signal.setitimer(signal.ITIMER_REAL, DRAIN)
        follower.end(reason(error))


def main(home: str, name: str) -> None:
    """The process: lower priority, no signals of the terminal, one line at the end if it failed."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(10)
    follower = Follower(Path(home), name)
    threading.Thread(target=_listen, args=(follower, sys.stdin.buffer), daemon=True).start()
    try:
        follower.work()
    except Exception as error:
        follower.fault = reason(error)
    if follower.fault:
        with contextlib.suppress(OSError):
            os.write(1, follower.fault.encode(errors="replace"))
    os._exit(0)  # no thread of a client may keep the process running
