"""What no configuration file may hold, seen in its text before a yaml parser expands it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fl_platform.config.errors import ConfigError
from fl_platform.core.outside import OutsideError, read_file

State = tuple[tuple[Path, int], ...]  # every file and when it was changed

GROUPS = ("task", "attack", "defense", "mixing", "preset", "observers", "experiment")
QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
COMMENT = re.compile(r"(^|\s)#.*")
# Nine aliases of nine aliases of ... become gigabytes on the way to being refused.
ALIAS = re.compile(r"(?:^|[\s\[{,])[&*]\w")
# The parser takes 010 for eight.
OCTAL = re.compile(r"(?:^|[\s\[{,])[-+]?0[0-9_]+(?=$|[\s\]},])")


def check_files(folders: Sequence[Path]) -> State:
    """Read every file in ``folders`` once, until it changes; the state in which they are.

    Raises:
        ConfigError: an anchor or alias, a number with a leading zero, or a file over 64 KiB.
    """
    state = []
    for file in (file for folder in folders for file in folder.rglob("*.yaml")):
        status = file.stat()
        fault = _fault(file, status.st_mtime_ns)
        if fault:
            raise ConfigError(fault)
        state.append((file, status.st_mtime_ns))
    return tuple(sorted(state))


@lru_cache(maxsize=4096)
def _fault(file: Path, changed: int) -> str:
    try:
        lines = read_file(file, "yaml", follow=True).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        return f"{file}: expected UTF-8, got: {error}"
    except OutsideError as error:
        return str(error)
    for number, line in enumerate(lines, start=1):
        bare = COMMENT.sub("", QUOTED.sub("''", line))
        if ALIAS.search(bare):
            return f"{file}: line {number}: expected values written out, got an anchor or alias."
        if OCTAL.search(bare):
            told = "expected a number without leading zero, or quotes around it"
            return f"{file}: line {number}: {told}."
    return ""
