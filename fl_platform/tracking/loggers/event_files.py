"""Lightning's loggers that write files, below a run's artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from fl_platform.tracking.journal import read


class CsvFile(CSVLogger):
    """``csv/metrics.csv``, one row per round and logged value as column, and ``csv/hparams.yaml``.

    Args:
        folder: of the run's artifacts.
        directory: below it.
    """

    def __init__(self, folder: Path, *, directory: str = "csv") -> None:
        super().__init__(folder, name=directory, version="")
        self._journal, self._begun = folder.parent / "journal.jsonl", False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """One row; a resumed run first writes its earlier rounds from the journal.

        Lightning keeps up to a hundred rows in memory, and a new process replaces the file.
        """
        earlier: dict[int, dict[str, Any]] = {}
        if not self._begun and step is not None and self._journal.exists():
            for name, points in read(self._journal).metrics.items():
                for at in range(1, step):
                    if at in points and not name.startswith("system/"):  # its steps are no rounds
                        earlier.setdefault(at, {})[name] = points[at].value
        self._begun = True
        for at in sorted(earlier):
            super().log_metrics(earlier[at], at)
        super().log_metrics(metrics, step)


class TensorBoard(TensorBoardLogger):
    """Event files for TensorBoard, with the configuration as hyperparameters.

    Args:
        folder: of the run's artifacts.
        directory: below it.

    Raises:
        ValueError: the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, *, directory: str = "tensorboard") -> None:
        try:
            super().__init__(folder, name=directory, version="", default_hp_metric=False)
        except ModuleNotFoundError:
            raise ValueError(
                "expected the package tensorboard, which is not installed; pip install tensorboard,"
                " or use loggers=csv."
            ) from None
