"""The stored result of a configuration, if it was computed from the present data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from fl_platform.config import Config, config_hash, data_node
from fl_platform.core.file_stats import Stamp, stamps
from fl_platform.run import provenance
from fl_platform.run.result import Result, finished
from fl_platform.tracking.records import KnownData, read_record
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder, write_json

Seen = dict[Path, str | None]


def remember(home: Path, node: Mapping[str, Any], files: Iterable[Stamp], digest: str) -> None:
    """Store the digest of the data of a `data_node`, valid while its ``files`` are unchanged."""
    known = {"digest": digest, "files": [list(stamp) for stamp in files]}
    if not known["files"]:
        return
    path = _memory(home, node)
    if _read(path) != known:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, known)


def digest_of(config: Config, home: Path, seen: Seen | None = None) -> str | None:
    """The digest of the data that ``config`` names; loads the data only if no digest is stored.

    ``None`` if the config hash identifies the data (no ``root``), and if the data are missing:
    nothing is downloaded for a digest.

    Args:
        seen: digests of the present call, shared by the runs of a grid; new ones are added.
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
    except RuntimeError:  # damaged: written again
        return None


class OtherData(IdentityMismatch):
    """A stored result that was computed from other data than the present ones."""

    def _message(self, path: Path, pairs: str) -> str:
        return (
            f"Expected the data from which the stored result in {path} was computed, got others"
            f" ({pairs}). Set task.data.root to those, or use --restart (run again; the old run is"
            " kept in a renamed folder) or --ignore-mismatch (show the stored result)."
        )


def stored(config: Config, home: Path, seen: Seen | None = None) -> Result | None:
    """The result of a finished run, else ``None``; imports neither torch nor Lightning.

    Only if the digest of the data is not stored yet, the data, and so torch, are loaded once.

    Args:
        seen: digests of the present call, for a call with many runs; see `digest_of`.

    Raises:
        OtherData: a result of other data; ``runtime.continue_anyway`` accepts it.
    """
    identity = config_hash(config)
    result = finished(home, identity)
    if result is None or config.runtime.continue_anyway:
        return result
    was = conditions(home, identity).get("data_digest")
    now = digest_of(config, home, seen) if was is not None else None
    if now is not None and now != was:
        raise OtherData(run_folder(home, identity).path, {"data_digest": (was, now)})
    return result


def complete(config: Config, home: Path, seen: Seen | None = None) -> Result | None:
    """`stored`, or ``None`` if the run also lacks the model that the configuration asks for."""
    result = stored(config, home, seen)
    return None if result is not None and lacks_model(config, home) else result


def lacks_model(config: Config, home: Path) -> bool:
    """True if ``config`` asks for a model, or its registration, that the finished run has not."""
    if not config.runtime.saves_model:
        return False
    history = run_folder(home, config_hash(config)).history()
    if history.status != "FINISHED":  # a diverged run has no network to keep
        return False
    known, name = history.model, config.runtime.register
    return known is None or (bool(name) and known["registered"] != name)


def of_other_code(config: Config, home: Path) -> tuple[str, ...]:
    """Code of the stored run that has changed since: ``code_fingerprint``, ``plugin.NAME``."""
    was = conditions(home, config_hash(config))
    return tuple(name for name, now in provenance.code(config).items() if was.get(name) != now)


def conditions(home: Path, identity: str) -> dict[str, str]:
    """The recorded conditions of the run with that hash."""
    return (run_folder(home, identity).describe() or {}).get("conditions", {})
