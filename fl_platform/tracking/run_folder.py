"""One run, one folder: who it is, what it logged, where it stopped, what came out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fl_platform.tracking.atomic import write_atomic

_SCHEMA = 1


class IdentityMismatch(RuntimeError):  # noqa: N818 - told to the user by its name
    """The folder's run was made under other conditions; ``differing`` names them."""

    def __init__(self, path: Path, differing: Mapping[str, tuple[Any, Any]]) -> None:
        self.differing = dict(differing)
        pairs = ", ".join(f"{k}: {was!r} then, {now!r} now" for k, (was, now) in differing.items())
        super().__init__(self._told(path, pairs))

    def _told(self, path: Path, pairs: str) -> str:
        return (
            f"Expected the conditions that the run in {path} was started under, got others"
            f" ({pairs}). Restore them, or use --continue-anyway (the numbers may differ),"
            " or --fresh (start over)."
        )


class RunFolder:
    """Paths and small files of the run at ``path``; private to the user (mode 0700)."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.identity_file = self.path / "run.json"
        self.journal = self.path / "journal.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.result_file = self.path / "result.json"
        self.artifacts = self.path / "artifacts"
        self.lock = self.path / "lock"
        self.forward_lock = self.path / "forward.lock"
        self.forwarded = self.path / "forwarded.json"

    def create(self) -> RunFolder:
        """Make the folder where it is missing; an error tells before any training that it fails."""
        for folder in (self.path.parents[1], self.path.parent):  # a mode holds for the last alone
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(exist_ok=True, mode=0o700)
        self.artifacts.mkdir(exist_ok=True, mode=0o700)
        return self

    def describe(self) -> dict[str, Any] | None:
        """What ``run.json`` says, or None before the run has one."""
        return read_json(self.identity_file)

    def introduce(
        self,
        *,
        name: str,
        config_hash: str,
        experiment: str,
        conditions: Mapping[str, Any],
        parent_run_id: str = "",
        continue_anyway: bool = False,
    ) -> dict[str, Any]:
        """Write ``run.json`` for a new run, or check that an old one is the same run.

        Args:
            conditions: what alters bits beside the config: device, threads, versions, digests.
            continue_anyway: accept other conditions; the changes are kept under ``continued``.

        Raises:
            IdentityMismatch: other conditions, or another config under the same folder name.
        """
        known = self.describe()
        if known is None:
            known = {
                "schema": _SCHEMA,
                "run_id": secrets.token_hex(16),
                "name": name,
                "config_hash": config_hash,
                "experiment": experiment,
                "parent_run_id": parent_run_id,
                "created": time.time(),
                "conditions": dict(conditions),
            }
            write_json(self.identity_file, known)
            return known
        now = json.loads(json.dumps(dict(conditions)))
        was = known["conditions"]
        keys = sorted(was.keys() | now.keys())
        differing = {k: (was.get(k), now.get(k)) for k in keys if was.get(k) != now.get(k)}
        if known["config_hash"] != config_hash:
            raise IdentityMismatch(
                self.path, {"config_hash": (known["config_hash"], config_hash), **differing}
            )
        if differing and not continue_anyway:
            raise IdentityMismatch(self.path, differing)
        if differing:
            known["continued"] = [*known.get("continued", []), {"at": time.time(), "with": now}]
            known["conditions"] = now
            write_json(self.identity_file, known)
        return known

    @property
    def result(self) -> dict[str, Any] | None:
        """The stored result of a finished run."""
        return read_json(self.result_file)

    def set_aside(self) -> Path | None:
        """Move an existing run out of the way (``--fresh``); it stays readable beside it."""
        if not self.identity_file.exists():
            return None
        old = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        self.path.rename(old)
        return old


def run_folder(home: Path | str, config_hash: str) -> RunFolder:
    """The folder of the run with ``config_hash`` (hexadecimal) under ``home``."""
    if len(config_hash) < 16 or set(config_hash) - set("0123456789abcdef"):
        raise ValueError(f"Expected a hexadecimal config hash, got {config_hash!r}.")
    return RunFolder(runs_root(home) / config_hash[:16])


def runs_root(home: Path | str) -> Path:
    """Where the run folders of ``home`` lie."""
    return Path(home).absolute() / "mlruns" / "runs"


def all_runs(home: Path | str) -> Iterator[RunFolder]:
    """Every run folder of ``home`` that has an identity, in order of names."""
    for path in sorted(runs_root(home).glob("*/run.json")):
        yield RunFolder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``, or None where there is no file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RuntimeError(f"Expected JSON in {path}, got something else: {error}.") from error
    if not isinstance(content, dict):
        raise RuntimeError(f"Expected a JSON object in {path}, got {type(content).__name__}.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``content``, atomically."""
    write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
