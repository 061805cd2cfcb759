"""``python -m fl_platform``: the command line; without typer, its verb ``arena`` alone."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command line, or the arena where the command line's packages are not installed."""
    if importlib.util.find_spec("typer") is not None:
        from fl_platform.cli import main as command_line

        command_line()
        return
    if sys.argv[1:2] != ["arena"]:
        told = "expected typer to be installed; without it: python -m fl_platform arena"
        sys.exit(f"fl-platform: {told}")
    sys.exit(_arena(sys.argv[2:]))


def _arena(words: list[str]) -> int:
    from fl_platform.config import ConfigError, find_home
    from fl_platform.study.arena.runner import run_arenas
    from fl_platform.tracking.lock import RunOwned
    from fl_platform.tracking.run_folder import IdentityMismatch

    parser = argparse.ArgumentParser(prog="fl-platform arena")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--file", default="arena")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--ignore-mismatch", action="store_true")
    given = vars(parser.parse_intermixed_args(words))
    try:
        home = find_home(given.pop("home"), os.environ, Path.cwd())
        plugins = given.pop("plugin")
        return run_arenas(given.pop("overrides"), home, plugins=plugins, **given).exit_code
    except (ConfigError, IdentityMismatch, RunOwned) as error:
        print(f"fl-platform: {error}", file=sys.stderr)
        return 75 if isinstance(error, RunOwned) else 2


if __name__ == "__main__":
    main()
