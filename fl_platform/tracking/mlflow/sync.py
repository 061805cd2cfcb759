"""After the event: bring every run folder to the store, and close what died unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fl_platform.core.outside import OutsideError
from fl_platform.core.text import reason
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.exporter import ForwardBusy, Forwarder
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder, all_runs, head


@dataclass
class SyncReport:
    """What a sync did.

    Attributes:
        runs: run folders looked at.
        records: records that the store did not have.
        busy: folders that another process was forwarding.
        failed: folder -> what went wrong; the others were brought nevertheless.
    """

    runs: int = 0
    records: int = 0
    busy: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the store now has every run."""
        return not self.busy and not self.failed


def sync(home: Path | str) -> SyncReport:
    """Bring all run folders of ``home`` to the store; repeating it brings nothing twice.

    Raises:
        StoreError: the store cannot be opened.
    """
    report, unfit = SyncReport(), list[RecordError]()
    client = store.connect(home)
    for folder in all_runs(home, unfit):
        report.runs += 1
        try:
            report.records += Forwarder(folder, home, client).forward()
        except ForwardBusy:
            report.busy.append(str(folder.path))
        except Exception as error:
            report.failed[str(folder.path)] = reason(error)
    report.failed |= {str(error.path): reason(error) for error in unfit}
    return report


def reap(home: Path | str) -> Iterator[RunFolder]:
    """Mark runs that say RUNNING and have no living owner as KILLED; yields each.

    The lock decides, never status or age, and the status is read again once the lock is held: a
    run that ends while others are looked at keeps its own last word. Reaped runs can be resumed as
    before; `sync` copies the new status to MLflow.

    Raises:
        RecordError: the first folder that cannot be read, once all others have been looked at.
    """
    unfit: list[RecordError] = []
    for folder in all_runs(home, unfit):
        try:
            if folder.journal.exists() and folder.history().status == "RUNNING":
                with RunLock(folder.lock):
                    reaped = _mark_killed(folder)
                if reaped:
                    yield folder
        except (RunOwned, FileNotFoundError):  # owned, or moved away by --fresh
            continue
        except RecordError as error:
            unfit.append(error)
        except (OSError, OutsideError) as error:
            unfit.append(RecordError(folder.path, f"{folder.path}: {reason(error)}"))
    if unfit:
        raise unfit[0]


def _mark_killed(folder: RunFolder) -> bool:
    """Say KILLED in a journal that still says RUNNING; whoever calls holds the lock."""
    journal = Journal(folder.journal, head(folder.describe() or {}))
    try:
        if journal.history.status != "RUNNING":
            return False
        journal.note("status", status="KILLED", reason="its process ended without a word")
    finally:
        journal.close()
    return True
