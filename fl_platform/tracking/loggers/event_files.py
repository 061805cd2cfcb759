"""Lightning's loggers that write files, below a run's artifacts."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


class CsvFile(CSVLogger):
    """``csv/metrics.csv``, one row per round and logged value as column, and ``csv/hparams.yaml``.

    Args:
        folder: of the run's artifacts.
        directory: below it.
    """

    def __init__(self, folder: Path, *, directory: str = "csv") -> None:
        super().__init__(folder, name=directory, version="")


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
