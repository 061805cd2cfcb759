"""Checks of a checkpoint and its journal against each other and against the run's identity."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_platform.tracking.journal import Journal, JournalState
from fl_platform.tracking.records import first_difference

VERSION = 2  # version of run.json since which journal and checkpoints contain the run's identity

log = logging.getLogger(__name__)


class Stamper:
    """The stamp of a run's checkpoints, and the check of a stored one.

    Args:
        described: the run's ``run.json``.
        journal: the run's journal; `mark` is its state at the next checkpoint.
    """

    def __init__(self, described: Mapping[str, Any], journal: Journal) -> None:
        self.described = described
        self.journal = journal
        self.mark: JournalState | None = None

    def make(self) -> dict[str, Any]:
        """The stamp of a new checkpoint; see `records.Stamp`."""
        mark = self.mark or self.journal.flush()
        return {
            **self._own(),
            "conditions": conditions_digest(self.described["conditions"]),
            "length": mark.length,
            "journal": mark.sha256,
        }

    def misfit(self, path: Path, stamp: Mapping[str, Any] | None) -> str:
        """The reason why the checkpoint at ``path`` is not of this run; empty if it is."""
        if stamp is None:
            if self.described.get("schema", 1) >= VERSION:
                return f"Checkpoint {path} has no identity, which this run's checkpoints have."
            log.warning("Checkpoint %s is of an earlier version without a run id: accepted.", path)
            return ""
        other = first_difference(self._own(), stamp, ("config_hash", "run_id"))
        if other:
            return f"Checkpoint {path} is another run's ({other})."
        if stamp["conditions"] not in self._conditions():
            return f"Checkpoint {path} was made under conditions that are not in run.json."
        if not self.journal.begins_with(JournalState(stamp["length"], stamp["journal"])):
            return (
                f"Checkpoint {path} does not match {self.journal.path.name}, whose first"
                f" {stamp['length']} bytes are missing or different."
            )
        return ""

    def _own(self) -> dict[str, str]:
        return {key: self.described[key] for key in ("run_id", "config_hash")}

    def _conditions(self) -> set[str]:
        """Digests of all conditions of the run, in order of ``--ignore-mismatch``."""
        past = [
            entry[key]
            for entry in self.described.get("continued", [])
            for key in ("was", "with")
            if key in entry
        ]
        return {conditions_digest(known) for known in [self.described["conditions"], *past]}


def conditions_digest(conditions: Mapping[str, Any]) -> str:
    """SHA-256 of the conditions, independent of their order."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
