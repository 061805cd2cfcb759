"""A checkpoint and its journal, each checked against the other and against the run's identity."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_platform.tracking.journal import Journal, JournalState
from fl_platform.tracking.records import first_difference

VERSION = 2  # of run.json: since then journal and checkpoints carry the run's identity

log = logging.getLogger(__name__)


class Stamper:
    """Makes the stamp of a run's checkpoints, and says what does not fit about another.

    Args:
        described: the run's ``run.json``.
        journal: the run's own; `mark` is the state of it that the next checkpoint belongs to.
    """

    def __init__(self, described: Mapping[str, Any], journal: Journal) -> None:
        self.described = described
        self.journal = journal
        self.mark: JournalState | None = None

    def make(self) -> dict[str, Any]:
        """The stamp of a checkpoint that is saved now; see `records.Stamp`."""
        mark = self.mark or self.journal.flush()
        return {
            **self._own(),
            "conditions": conditions_digest(self.described["conditions"]),
            "length": mark.length,
            "journal": mark.sha256,
        }

    def misfit(self, path: Path, stamp: Mapping[str, Any] | None) -> str:
        """Why the checkpoint at ``path`` is not one of this run, in one sentence; else empty."""
        if stamp is None:
            if self.described.get("schema", 1) >= VERSION:
                return f"Checkpoint {path} has no identity, which this run's checkpoints have."
            log.warning("Checkpoint %s is of an earlier version and names no run: taken.", path)
            return ""
        other = first_difference(self._own(), stamp, ("config_hash", "run_id"))
        if other:
            return f"Checkpoint {path} is another run's ({other})."
        if stamp["conditions"] not in self._conditions():
            return f"Checkpoint {path} was made under conditions that run.json does not know."
        if not self.journal.begins_with(JournalState(stamp["length"], stamp["journal"])):
            return (
                f"Checkpoint {path} does not fit {self.journal.path.name}, whose first"
                f" {stamp['length']} bytes are missing or others."
            )
        return ""

    def _own(self) -> dict[str, str]:
        return {key: self.described[key] for key in ("run_id", "config_hash")}

    def _conditions(self) -> set[str]:
        """Digests of all conditions that the run was under, in order of ``--ignore-mismatch``."""
        past = [
            entry[key]
            for entry in self.described.get("continued", [])
            for key in ("was", "with")
            if key in entry
        ]
        return {conditions_digest(known) for known in [self.described["conditions"], *past]}


def conditions_digest(conditions: Mapping[str, Any]) -> str:
    """SHA-256 of the conditions, whatever their order."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
