"""Afterwards: copy every run folder to the store, and mark runs whose process died."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fl_platform.core.text import reason
from fl_platform.tracking.exporter import Export, UploadBusy
from fl_platform.tracking.journal import Journal, JournalError, read
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.run_folder import RunFolder, all_runs


@dataclass
class SyncReport:
    """What a sync did.

    Attributes:
        runs: run folders looked at.
        records: records that the store did not have.
        busy: folders that another process was copying.
        failed: folder -> what went wrong; the others were copied nevertheless.
    """

    runs: int = 0
    records: int = 0
    busy: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the store now has every run."""
        return not self.busy and not self.failed


def sync(home: Path | str, name: str = "mlflow") -> SyncReport:
    """Copy all run folders of ``home``; repeating it copies nothing twice.

    Args:
        name: of the exporter, as ``runtime.tracking`` has it.

    Raises:
        StoreError: the store cannot be opened.
    """
    report = SyncReport()
    export = Export(home, name)
    for folder in all_runs(home):
        report.runs += 1
        try:
            report.records += export.upload(folder)
        except UploadBusy:
            report.busy.append(str(folder.path))
        except Exception as error:
            report.failed[str(folder.path)] = reason(error)
    return report


def reap(home: Path | str) -> Iterator[RunFolder]:
    """Mark runs that say RUNNING and have no living owner as KILLED; yields each.

    The lock decides, never status or age. Reaped runs can be resumed as before; `sync` brings
    the new status to MLflow.

    Raises:
        JournalError: the first journal that is broken, once all others have been looked at.
    """
    broken = None
    for folder in all_runs(home):
        try:
            if not folder.journal.exists() or read(folder.journal).status != "RUNNING":
                continue
            with RunLock(folder.lock):
                journal = Journal(folder.journal)
                journal.note("status", status="KILLED", reason="its process ended without a word")
                journal.close()
        except RunOwned:
            continue
        except JournalError as error:
            broken = broken or error
            continue
        yield folder
    if broken:
        raise broken
