"""Commit a run at round boundaries: first its journal, then one checkpoint file."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from fl_platform.core.process import Stopper
from fl_platform.tracking.active_run import RunRecord


class Commit(Checkpoint):
    """Saves the trainer when a commit is due, at the last round and when asked to stop.

    Args:
        record: of the run; its journal is made durable before each checkpoint, so that no
            checkpoint is ahead of it.
        stopper: who may have asked to stop.
    """

    def __init__(self, record: RunRecord, stopper: Stopper) -> None:
        self.record = record
        self.stopper = stopper

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, which registers its own at each fit."""
        self.stopper.listen()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit if due; stop if asked, by a signal or by a callback before this one."""
        asked = self.stopper.signal is not None or trainer.should_stop
        last = trainer.global_step >= (trainer.max_epochs or 0)
        if asked or last or self.record.cadence.due():
            path = self.record.checkpoint.path
            self.record.commit(lambda: trainer.save_checkpoint(path))
        if asked:
            trainer.should_stop = True
