"""Lightning's early stopping and best checkpoint, by configuration, for values of any cadence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from fl_platform.config.errors import ConfigError, nearest
from fl_platform.core.constraints import AtLeast

Mode = Literal["min", "max"]


class _Fresh:
    """Notice whether a logged value was measured in this round or is an older one."""

    def __init__(self, monitor: str) -> None:
        self._monitor = monitor
        self._last: Tensor | None = None

    def refuse_unmeasured(self, trainer: Trainer) -> None:
        """Refuse, before the first round, the samples of a set that no evaluation of a run reads.

        Raises:
            ConfigError: the monitor is of ``validation/`` or ``test/``, and there are no samples.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        read = [getattr(callback, "held_out", {}) for callback in callbacks]
        name = self._monitor.partition("/")[0]
        if name in ("validation", "test") and any(read) and not any(name in one for one in read):
            hint = "; hold samples out by task.validation=0.2" if name == "validation" else ""
            raise ConfigError(
                f"callbacks: expected {name} samples for the monitor {self._monitor!r}, got"
                f" none{hint}"
            )

    def __call__(self, trainer: Trainer) -> bool:
        """True if this round measured the value.

        Raises:
            ConfigError: each observer of the run has measured, and none the value.
        """
        logged = trainer.callback_metrics
        current, last = logged.get(self._monitor), self._last
        self._last = current
        if current is not None:
            return current is not last
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if trainer.global_step >= max(getattr(c, "every", 1) or 1 for c in callbacks):
            known = [name for name in logged if not name.startswith("time/")]
            raise ConfigError(
                f"callbacks: expected a monitor among {', '.join(known)}; got"
                f" {self._monitor!r}{nearest(self._monitor, known)}"
            )
        return False


class EarlyStop(EarlyStopping):
    """The end of a run whose monitored value no longer improves; the run counts as finished.

    Args:
        monitor: name of a logged value.
        mode: ``"min"`` if lower values are better, ``"max"`` if higher ones are.
        min_delta: least change that counts as an improvement.
        patience: measurements without an improvement before the end; rounds without a measurement
            do not count.
    """

    def __init__(
        self,
        *,
        monitor: str = "validation/loss",
        mode: Mode = "min",
        min_delta: Annotated[float, AtLeast(0)] = 0.0,
        patience: Annotated[int, AtLeast(1)] = 10,
    ) -> None:
        super().__init__(
            monitor, min_delta, patience, mode=mode, check_on_train_epoch_end=True, verbose=False
        )
        self._fresh = _Fresh(monitor)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a monitor without samples."""
        self._fresh.refuse_unmeasured(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once what was killed between its last round and its result."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check a value that this round measured."""
        if self._fresh(trainer):
            super().on_train_epoch_end(trainer, pl_module)


class BestCheckpoint(ModelCheckpoint):
    """Checkpoints of the best rounds: ``best/round-<t>.ckpt`` among the run's artifacts.

    `FederatedModule.load_from_checkpoint` reads them.

    Args:
        folder: of the run's artifacts.
        monitor: name of a logged value.
        mode: ``"min"`` if lower values are better, ``"max"`` if higher ones are.
        top: number of rounds that are kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str = "validation/accuracy",
        mode: Mode = "max",
        top: Annotated[int, AtLeast(1)] = 1,
    ) -> None:
        super().__init__(
            folder / "best",
            "round-{step}",
            monitor=monitor,
            mode=mode,
            save_top_k=top,
            auto_insert_metric_name=False,
            save_on_train_epoch_end=True,
        )
        self._fresh = _Fresh(monitor)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a monitor without samples."""
        self._fresh.refuse_unmeasured(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the files of rounds after the last checkpoint, which a kill left behind."""
        super().on_train_start(trainer, pl_module)
        assert self.dirpath is not None
        for path in Path(self.dirpath).glob("round-*.ckpt"):
            if int(re.findall(r"\d+", path.stem)[0]) > trainer.global_step:
                path.unlink()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the round if it is among the best."""
        if self._fresh(trainer):
            super().on_train_epoch_end(trainer, pl_module)


def stopped_early(callbacks: Sequence[Callback]) -> bool:
    """True if an `EarlyStop` among these callbacks has ended the run."""
    return any(isinstance(one, EarlyStop) and one.stopped_epoch for one in callbacks)
