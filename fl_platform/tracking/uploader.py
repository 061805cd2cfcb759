"""The uploader: one process beside the command that copies its runs while they are running.

Training never imports or waits for the store. The command names run folders; the process follows
their journals with lower priority. It ends with the command: after a normal end when all is
copied or the store has made no progress for `DRAIN` seconds, after a kill within `DRAIN` seconds.
Records that are not copied remain in the run folders; ``fl-platform runs sync`` copies them later.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from fl_platform.tracking.exporter import EXPORTERS, JOURNAL, pending
from fl_platform.tracking.run_folder import RunFolder

DRAIN = 5.0  # seconds without progress after which the rest is left to `runs sync`
HURRY = 2.0  # the same after a signal, and then in all
OPENING = 30.0  # seconds that importing and opening the store may take after the end
LONGEST = 120.0  # seconds after the end, whatever progress is made

# Our own package is found where the command found it; no other import sees that folder.
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import fl_platform; sys.path.pop(0);"
    " sys.path.extend(sys.argv[4:]);"
    " from fl_platform.tracking.follower import main; main(*sys.argv[2:4])"
)


class Uploader:
    """The command's part: start the process, name run folders, wait at the end.

    Args:
        name: name of the exporter, as in ``runtime.tracking``.
    """

    def __init__(self, home: Path | str, name: str = "mlflow") -> None:
        self.home, self.name = Path(home).absolute(), name
        self.folders: dict[Path, None] = {}
        self._ended = False
        self._process = subprocess.Popen(
            _command(self.home, name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the command only
        )

    def follow(self, folder: Path) -> None:
        """Copy the run in ``folder`` from now on, without waiting."""
        self.folders[folder] = None
        self._say("follow", str(folder))

    def end(self, *, hurry: bool = False) -> None:
        """Announce the end: copy pending records and exit, without waiting."""
        if not self._ended:
            self._ended = True
            self._say("hurry" if hurry else "end")

    def wait(self, *, hurry: bool = False) -> str:
        """End and wait; one line about records that were not copied, or nothing."""
        self.end(hurry=hurry)
        said = b""
        try:
            said = self._process.communicate(timeout=HURRY if hurry else OPENING + LONGEST + DRAIN)[
                0
            ]
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.stop()
        missed = [folder for folder in self.folders if self._missed(folder)]
        if not missed:
            return ""
        why = said.decode(errors="replace").strip() or "it did not accept them in time"
        place = "MLflow" if self.name == "mlflow" else self.name
        return (
            f"{place} does not have all of {_count(missed)} ({why}). Nothing is lost:"
            " `fl-platform runs sync` copies the rest."
        )

    def stop(self) -> None:
        """Kill the process if it is still running; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Close this process's ends of the pipes; in a fork the uploader is not affected."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _say(self, *words: str) -> None:
        stream = self._process.stdin
        with contextlib.suppress(OSError, ValueError):  # it has ended: `wait` reports it
            if stream is not None:
                stream.write(json.dumps(words).encode() + b"\n")
                stream.flush()

    def _missed(self, folder: Path) -> bool:
        with contextlib.suppress(OSError, RuntimeError):
            return pending(RunFolder(folder), self.name)
        return True


_LIVE: dict[tuple[Path, str], Uploader] = {}


def follow(home: Path | str, name: str, folder: Path) -> None:
    """Copy the run in ``folder`` to the exporter ``name`` (``runtime.tracking``).

    The first call starts the process that also serves all further calls of this command.
    """
    if name == JOURNAL:
        return
    key = (Path(home).absolute(), name)
    if key not in _LIVE:
        _LIVE[key] = Uploader(home, name)
    _LIVE[key].follow(folder)


def finish(*, hurry: bool = False) -> None:
    """Wait until all followed runs are copied; one line per exporter that failed.

    Called at the end of a command and of the interpreter.

    Args:
        hurry: use the short time limit, after a request to stop.
    """
    live = list(_LIVE.values())
    _LIVE.clear()
    try:
        for uploader in live:
            uploader.end(hurry=hurry)
        for uploader in live:
            message = uploader.wait(hurry=hurry)
            if message:
                with contextlib.suppress(OSError, ValueError):
                    print(message, file=sys.stderr)
    finally:
        for uploader in live:
            uploader.stop()


def _forget() -> None:
    for uploader in _LIVE.values():
        uploader.close()
    _LIVE.clear()


atexit.register(finish)
os.register_at_fork(after_in_child=_forget)


def _command(home: Path, name: str) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    package = EXPORTERS.get(name, name).partition(".")[0]
    spec = None if package == "fl_platform" else importlib.util.find_spec(package)
    place = []
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        place = [str(folder.parent if spec.submodule_search_locations else folder)]
    return [sys.executable, "-P", "-c", _START, str(root), str(home), name, *place]


def _count(folders: list[Path]) -> str:
    return f"the run in {folders[0]}" if len(folders) == 1 else f"{len(folders)} runs"
