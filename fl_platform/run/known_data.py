"""Which data a configuration means: a digest, remembered beside the runs by the stat of the files.

Where data lie is no part of a run's identity, so that a moved folder changes nothing; what they
are is compared instead. Reading a data set to compare it takes seconds, so its digest is kept with
the stamps of the files that it was read from, and holds as long as these do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from fl_platform.config import Config, data_node
from fl_platform.core.file_stats import Stamp, stamps
from fl_platform.tracking.records import KnownData, read_record
from fl_platform.tracking.run_folder import write_json

Seen = dict[Path, str | None]


def remember(home: Path, node: Mapping[str, Any], files: Iterable[Stamp], digest: str) -> None:
    """Keep the digest of the data of a `data_node` while its ``files`` stay as they are."""
    known = {"digest": digest, "files": [list(stamp) for stamp in files]}
    if not known["files"]:
        return
    path = _memory(home, node)
    if _read(path) != known:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, known)


def digest_of(config: Config, home: Path, seen: Seen | None = None) -> str | None:
    """The digest of the data that ``config`` names; loads them only where nobody remembers it.

    ``None`` where the configuration's own identity says all (data without a ``root``), and where
    the data are not there: nothing is downloaded for it.

    Args:
        seen: answers of this very moment, so that the many cells of a grid look once; added to.
    """
    node = data_node(config, home)
    if "root" not in node or not Path(node["root"]).exists():
        return None
    memory, seen = _memory(home, node), {} if seen is None else seen
    if memory not in seen:
        known = _read(memory)
        seen[memory] = str(known["digest"]) if _holds(known) else _loaded(home, node)
    return seen[memory]


def _holds(known: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    if known is None:
        return False
    files = [list(stamp) for stamp in stamps(Path(path) for path, *_ in known["files"])]
    return bool(files == known["files"])


def _loaded(home: Path, node: Mapping[str, Any]) -> str | None:
    from fl_platform.data import DataError
    from fl_platform.run.build import load_dataset  # imports torch

    offline = {"download": False} if "download" in node else {}
    try:
        dataset = load_dataset({**node, **offline})
    except DataError:
        return None
    remember(home, node, dataset.files, dataset.digest)
    return dataset.digest


def _memory(home: Path, node: Mapping[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()[:16]
    return home / "mlruns" / "data" / f"{name}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_record(path, KnownData)
    except RuntimeError:  # damaged: it is written anew
        return None
