"""Commits of a run at the end of rounds: first its journal, then one checkpoint file."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from fl_platform.core.process import Stopper
from fl_platform.tracking.active_run import ActiveRun


class Commit(Checkpoint):
    """Save the trainer when a commit is due, at the last round and on a request to stop.

    Args:
        record: the active run; its journal is made durable before each checkpoint, so that no
            checkpoint is ahead of it.
        stopper: the signal handler with a possible request to stop.
    """

    def __init__(self, record: ActiveRun, stopper: Stopper) -> None:
        self.record = record
        self.stopper = stopper

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers again: Lightning registers its own at each fit."""
        self.stopper.listen()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit if due; stop on a request by a signal or by an earlier callback."""
        asked = self.stopper.signal is not None or trainer.should_stop
        last = trainer.global_step >= (trainer.max_epochs or 0)
        if asked or last or self.record.cadence.due():
            path = self.record.checkpoint.path
            self.record.commit(lambda: trainer.save_checkpoint(path))
        if asked:
            trainer.should_stop = True
