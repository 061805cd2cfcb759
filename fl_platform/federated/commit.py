"""Commit a run at round boundaries: first its journal, then one checkpoint file."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from fl_platform.federated.stopping import Stopper
from fl_platform.tracking.cadence import Cadence
from fl_platform.tracking.journal import Journal


class Commit(Checkpoint):
    """Saves the trainer when the cadence says so, at the last round and when asked to stop.

    Args:
        path: of the checkpoint file.
        journal: made durable before each checkpoint, so that no checkpoint is ahead of it.
        cadence: when a commit is due.
        stopper: who may have asked to stop.
    """

    def __init__(self, path: Path, journal: Journal, cadence: Cadence, stopper: Stopper) -> None:
        self.path = path
        self.journal = journal
        self.cadence = cadence
        self.stopper = stopper

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, which registers its own at each fit."""
        self.stopper.listen()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit if due; stop if asked."""
        asked = self.stopper.signal is not None
        last = trainer.global_step >= (trainer.max_epochs or 0)
        if asked or last or self.cadence.due():
            with self.cadence:
                self.journal.flush()
                trainer.save_checkpoint(self.path)
        if asked:
            trainer.should_stop = True
