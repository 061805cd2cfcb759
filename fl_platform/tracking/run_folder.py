"""The folder of a run: its identity, journal, checkpoint and result."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.history import History
from fl_platform.tracking.journal import read
from fl_platform.tracking.records import (
    Identity,
    RecordError,
    StoredResult,
    first_difference,
    read_record,
    skip,
)
from fl_platform.tracking.stamp import VERSION

# Conditions that earlier versions did not record: an unknown condition cannot differ.
_LATER = ("processor", "data_digest")  # the digest: of an arena
_NAME = re.compile(r"(?P<hash>[0-9a-f]{16})(?P<aside>\.[0-9a-f]{8})?")


class IdentityMismatch(RuntimeError):  # noqa: N818 - printed by its name
    """A run in the folder with other conditions; ``differing`` names them."""

    def __init__(self, path: Path, differing: Mapping[str, tuple[Any, Any]]) -> None:
        self.differing = dict(differing)
        pairs = ", ".join(f"{k}: {was!r} then, {now!r} now" for k, (was, now) in differing.items())
        super().__init__(self._message(path, pairs))

    def _message(self, path: Path, pairs: str) -> str:
        return (
            f"Expected the conditions under which the run in {path} was started, got others"
            f" ({pairs}). Restore them, or use --ignore-mismatch (the numbers may differ),"
            " or --restart (start over)."
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
        """Create the folder if it is missing; an error is raised before any training.

        Raises:
            RecordError: a link in place of the folder.
        """
        for folder in (
            self.path.parents[1],
            self.path.parent,
        ):  # mkdir applies the mode to the last folder only
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.path, self.artifacts):
            if folder.is_symlink():
                raise RecordError(folder, f"{folder}: expected a folder, got a link. Remove it.")
            folder.mkdir(exist_ok=True, mode=0o700)
        return self

    @property
    def used(self) -> bool:
        """True if the folder contains files of a run."""
        files = (self.identity_file, self.journal, self.checkpoint, self.result_file)
        return any(os.path.lexists(file) for file in files)

    @property
    def aside(self) -> bool:
        """True if ``--restart`` has renamed this run, by the folder's name."""
        name = _NAME.fullmatch(self.path.name)
        return name is not None and name["aside"] is not None

    def describe(self) -> dict[str, Any] | None:
        """The content of ``run.json``, or None before there is one.

        Raises:
            RecordError: a wrong file, or the file of another run.
        """
        if self.path.is_symlink():
            raise RecordError(self.path, f"{self.path}: expected a folder, got a link.")
        known = read_record(self.identity_file, Identity)
        name = _NAME.fullmatch(self.path.name)
        if known is not None and (
            name is None or not known["config_hash"].startswith(name["hash"])
        ):
            raise RecordError(
                self.identity_file,
                f"{self.identity_file}: expected the run of its folder's name, got"
                f" {known['config_hash'][:16]}. A copied folder must keep its name.",
            )
        return known

    def history(self, described: Mapping[str, Any] | None = None) -> History:
        """The content of the run's own journal; empty if there is none.

        Args:
            described: its ``run.json``, if it was read already.

        Raises:
            RecordError: a wrong journal, or the journal of another run.
        """
        known = (self.describe() if described is None else described) or {}
        own = head(known)
        try:
            return read(self.journal, own["run_id"] if own else None)
        except FileNotFoundError:
            return History()

    def create_or_verify(
        self,
        *,
        name: str,
        config_hash: str,
        experiment: str,
        conditions: Mapping[str, Any],
        parent_run_id: str = "",
        continue_anyway: bool = False,
    ) -> dict[str, Any]:
        """Write ``run.json`` for a new run, or check that an existing one is the same run.

        Args:
            conditions: what may change bits beside the config: device, threads, versions, digests.
            continue_anyway: accept other conditions; the changes are recorded under ``continued``.

        Raises:
            IdentityMismatch: other conditions, or another config under the same folder name.
        """
        known = self.describe()
        if known is None:
            known = {
                "schema": VERSION,
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
        was = {k: now[k] for k in _LATER if k in now} | known["conditions"]
        keys = sorted(was.keys() | now.keys())
        differing = {k: (was.get(k), now.get(k)) for k in keys if was.get(k) != now.get(k)}
        if known["config_hash"] != config_hash:
            raise IdentityMismatch(
                self.path, {"config_hash": (known["config_hash"], config_hash), **differing}
            )
        if differing and not continue_anyway:
            raise IdentityMismatch(self.path, differing)
        if differing:
            change = {"at": time.time(), "was": known["conditions"], "with": now}
            known["continued"] = [*known.get("continued", []), change]
            known["conditions"] = now
            write_json(self.identity_file, known)
        return known

    @property
    def result(self) -> dict[str, Any] | None:
        """The stored result of a finished run, or None before there is one.

        Raises:
            RecordError: a wrong file, or the file of another run.
        """
        found = read_record(self.result_file, StoredResult)
        if found is not None:
            other = first_difference(self.describe() or {}, found, ("config_hash", "run_id"))
            if other:
                raise RecordError(
                    self.result_file,
                    f"{self.result_file}: expected the result of the run in {self.identity_file},"
                    f" got another's ({other}). Remove it: the same command writes it again.",
                )
        return found

    def set_aside(self) -> Path | None:
        """Rename an existing run (``--restart``); it remains readable."""
        if not self.used:
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
    """The parent of the run folders of ``home``."""
    return Path(home).absolute() / "mlruns" / "runs"


def head(described: Mapping[str, Any]) -> dict[str, str] | None:
    """The first record of the run's journal; None if it has none (version 1)."""
    if described.get("schema", 1) < VERSION:
        return None
    return {key: described[key] for key in ("run_id", "config_hash")}


def all_runs(home: Path | str, unfit: list[RecordError] | None = None) -> Iterator[RunFolder]:
    """Every run folder of ``home`` that has an identity, in order of names.

    Args:
        unfit: receives the folders that cannot be read; by default each is printed once.
    """
    root = runs_root(home)
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        folder = RunFolder(path)
        try:
            if folder.describe() is None:
                continue
        except OSError as error:
            fault = RecordError(folder.path, f"{folder.path}: {error.strerror}.")
        except RecordError as error:
            fault = error
        else:
            yield folder
            continue
        if unfit is None:
            skip(fault)
        else:
            unfit.append(fault)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``content``, atomically."""
    write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
