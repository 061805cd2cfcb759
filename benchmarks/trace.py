"""Files of the package that one command imports and enters: the code behind that command.

    python benchmarks/trace.py run task=digits attack=strike defense=multi_krum rounds=5

A file is *entered* when one of its functions is called. Printed too: the rooms that the
configuration of the run passes through, one after the other, as an argument of a function.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fl_platform"
sys.path.insert(0, str(ROOT))


class Tracer:
    """Counter of package files whose functions are called, and of calls between files."""

    def __init__(self) -> None:
        self.entered: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.config: Any = None  # of the run, from the call of `run.runner.run` on
        self.stays: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            return  # bodies of modules and classes are imports, not calls
        file = frame.f_code.co_filename
        if not file.startswith(str(PACKAGE)):
            return
        self.entered.add(file)
        self.follow(frame, Path(file).relative_to(PACKAGE))
        caller = frame.f_back
        origin = "" if caller is None else caller.f_code.co_filename
        if origin.startswith(str(PACKAGE)) and origin != file:
            self.pairs.add((origin, file))

    def follow(self, frame: FrameType, file: Path) -> None:
        """Add the room of a function that is given the configuration, unless it is in it."""
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if self.config is None and (str(file), code.co_name) == ("run/runner.py", "run"):
            self.config = frame.f_locals["config"]
        if self.config is None or all(frame.f_locals.get(n) is not self.config for n in names):
            return
        room = file.parts[0].removesuffix(".py")
        if self.stays[-1:] != [room]:
            self.stays.append(room)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the files that one command enters.")
    parser.add_argument("words", nargs="+", help="a command of fl-platform with its arguments")
    parser.add_argument("--list", action="store_true", help="print the files that are entered")
    arguments, rest = parser.parse_known_args()
    from fl_platform.cli import app

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf").symlink_to(ROOT / "conf")
        (Path(folder) / "tuning").symlink_to(ROOT / "tuning")
        tracer = Tracer()
        threading.setprofile(tracer)
        sys.setprofile(tracer)
        try:
            app([*arguments.words, *rest, "--home", folder], standalone_mode=False)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    imported = [
        module
        for module in sys.modules.values()
        if str(getattr(module, "__file__", None) or "").startswith(str(PACKAGE))
    ]
    if arguments.list:
        for file in sorted(tracer.entered):
            print(Path(file).relative_to(PACKAGE))
    print(
        f"imported {len(imported)} files, entered {len(tracer.entered)},"
        f" {len(tracer.pairs)} pairs of files"
    )
    if tracer.stays:
        returns = len(tracer.stays) - len(set(tracer.stays))
        print(f"the configuration returns {returns} times: {' '.join(tracer.stays)}")


if __name__ == "__main__":
    main()
