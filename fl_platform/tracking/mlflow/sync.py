"""Later upload of every run folder, and the status KILLED for runs whose process ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fl_platform.core.outside import OutsideError
from fl_platform.core.text import reason
from fl_platform.tracking.exporter import Export, UploadBusy
from fl_platform.tracking.follower import mark_killed
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder, all_runs


@dataclass
class SyncReport:
    """The outcome of a sync.

    Attributes:
        runs: number of checked run folders.
        records: number of new records in the store.
        busy: folders that another process is copying.
        failed: folder -> error; the other folders are copied.
    """

    runs: int = 0
    records: int = 0
    busy: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if the store now has every run."""
        return not self.busy and not self.failed


def sync(home: Path | str, name: str = "mlflow") -> SyncReport:
    """Copy all run folders of ``home``; a repeated call copies nothing twice.

    Args:
        name: name of the exporter, as in ``runtime.tracking``.

    Raises:
        StoreError: the store cannot be opened.
    """
    report, unfit = SyncReport(), list[RecordError]()
    export = Export(home, name)
    for folder in all_runs(home, unfit):
        report.runs += 1
        try:
            report.records += export.upload(folder)
        except UploadBusy:
            report.busy.append(str(folder.path))
        except Exception as error:
            report.failed[str(folder.path)] = reason(error)
    report.failed |= {str(error.path): reason(error) for error in unfit}
    return report


def reap(home: Path | str) -> Iterator[RunFolder]:
    """Mark runs with status RUNNING and without a running owner as KILLED; yields each.

    The lock decides, never status or age, and the status is read again under the lock: a run that
    ends during this call keeps its own status. Marked runs can be resumed as before; `sync` copies
    the new status to MLflow.

    Raises:
        RecordError: the first folder that cannot be read, after all others have been checked.
    """
    unfit: list[RecordError] = []
    for folder in all_runs(home, unfit):
        try:
            running = folder.journal.exists() and folder.history().status == "RUNNING"
            if running and mark_killed(folder):
                yield folder
        except (RunOwned, FileNotFoundError):  # owned, or moved by --restart
            continue
        except RecordError as error:
            unfit.append(error)
        except (OSError, OutsideError) as error:
            unfit.append(RecordError(folder.path, f"{folder.path}: {reason(error)}"))
    if unfit:
        raise unfit[0]
