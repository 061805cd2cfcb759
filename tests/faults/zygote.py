"""A parent that has imported everything once and forks the real program for each trial.

Importing torch and Lightning takes seconds; a fork takes milliseconds. The parent never starts a
thread and never trains. Its children run ``fl_platform.cli.main`` with the arguments, folder,
environment and limits of their trial, and anybody may kill them at any instant.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import patches


@dataclass
class Child:
    """A program that was started; ``out`` holds what it printed, both streams together."""

    zygote: Zygote
    pid: int
    out: Path
    begun: float = field(default_factory=time.monotonic)
    code: int | None = None

    def __post_init__(self) -> None:
        self._descriptor = os.pidfd_open(self.pid)

    def wait(self, timeout: float = 120.0) -> int | None:
        """Its exit code (negative: the signal that killed it), or None if it is still at work."""
        if self.code is None and select.select([self._descriptor], [], [], max(0.0, timeout))[0]:
            self.code = self.zygote.ask({"reap": self.pid})["code"]
            os.close(self._descriptor)
        return self.code

    def finish(self, timeout: float = 120.0) -> int:
        """Its exit code; a child that hangs is killed and told."""
        code = self.wait(timeout)
        if code is None:
            self.kill()
            raise AssertionError(f"still at work after {timeout} s:\n{self.text}")
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; to a child that ended already, nothing."""
        if self.code is None:
            signal.pidfd_send_signal(self._descriptor, number)

    @property
    def text(self) -> str:
        """What it printed so far."""
        return self.out.read_text(errors="replace")


class Zygote:
    """The parent of all trials, forked from this process before it has any thread."""

    def __init__(self, imports: Sequence[str] = ()) -> None:
        if threading.active_count() > 1:
            raise AssertionError(f"Expected one thread before a fork, got {threading.enumerate()}.")
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            try:
                for name in imports:
                    __import__(name)
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._lines = ours.makefile("rw")
        self._socket = ours
        self._turn = threading.Lock()  # trials side by side speak to one parent
        self._numbers = itertools.count(1)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One line there, one line back."""
        with self._turn:
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
            answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def start(
        self,
        *arguments: str,
        out: Path,
        cwd: Path | None = None,
        env: dict[str, str | None] | None = None,
        patch: dict[str, Any] | None = None,
        file_size: int | None = None,
        memory: int | None = None,
        powerless: bool = False,
    ) -> Child:
        """Fork a child that runs ``fl-platform`` with ``arguments``.

        Args:
            out: a folder for what it prints.
            env: changes of the environment; None removes a name.
            patch: functions of :mod:`tests.faults.patches` by name, each with its argument.
            file_size: bytes at which writing any file fails, as on a full disk.
            memory: bytes of address space beyond what the fork has.
            powerless: without root's right to write where it must not.
        """
        path = out / f"out-{next(self._numbers)}.txt"
        request = {
            "arguments": arguments,
            "out": str(path),
            "cwd": str(cwd or out),
            "env": env or {},
            "patch": patch or {},
            "file_size": file_size,
            "memory": memory,
            "powerless": powerless,
        }
        return Child(self, self.ask(request)["pid"], path)

    def close(self) -> None:
        """End the parent; children that are still at work go on."""
        self._lines.write('"end"\n')  # a parent forked later holds this socket open too
        self._lines.close()
        self._socket.close()
        os.waitpid(self.pid, 0)


def _serve(line: socket.socket) -> None:
    sys.settrace(None)  # coverage would slow the trials, and cannot follow them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the tests: we end with the socket
    lines = line.makefile("rw")
    for text in lines:
        request = json.loads(text)
        if request == "end":
            return
        if "reap" in request:
            status = os.waitpid(request["reap"], 0)[1]
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            child = os.fork()
            if child == 0:
                _become(request, line.fileno())
            answer = {"pid": child}
        lines.write(json.dumps(answer) + "\n")
        lines.flush()


def _become(request: dict[str, Any], line: int) -> None:
    """Turn this fork into the program; never returns."""
    code = 1
    try:
        os.setsid()
        os.close(line)
        _redirect(request["out"])
        os.chdir(request["cwd"])
        for name, value in request["env"].items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        time.tzset()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name, argument in request["patch"].items():
            getattr(patches, name)(argument)
        if request["file_size"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
        if request["memory"] is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + request["memory"],) * 2)
        if request["powerless"]:
            _drop_capabilities()
        code = _main(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:  # outside of the program's own handling: the interpreter's end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except OSError:  # what it printed did not fit the disk that was made small for it
        code = code or 1
    finally:
        os._exit(code)


def _main(arguments: list[str]) -> int:
    """What the interpreter does around the console script, with the code it would exit with."""
    from fl_platform import cli

    sys.argv = ["fl-platform", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        raise
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _redirect(path: str) -> None:
    """Point the streams at ``path``; the test runner's own capturing stays with the runner."""
    logging.getLogger().handlers.clear()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_capabilities() -> None:
    """Root without its powers meets the same permissions as everybody."""
    header = _Header(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), ctypes.byref(nothing)):
        raise OSError(ctypes.get_errno(), "capset")
