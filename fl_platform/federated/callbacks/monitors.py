"""Lightning's early stopping and best checkpoint, by configuration, for values of any cadence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from fl_platform.config.errors import ConfigError, nearest
from fl_platform.core.constraints import AtLeast

Mode = Literal["min", "max"]


class _Monitoring(Callback):
    """A callback of Lightning that reads its monitored value in the rounds that measure it."""

    monitor: Any  # a name
    monitor_key = "callbacks"  # of the configuration, for messages
    _measured = False  # in a round of this run, also before a resumption
    _last: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse, before the first round, a value that no round of this run can measure.

        Raises:
            ConfigError: the monitor is of ``validation/`` or ``test/``, and there are no samples;
                or it is none of the logged values, where all of these are known.
        """
        super().on_fit_start(trainer, pl_module)
        read = [getattr(callback, "held_out", {}) for callback in _callbacks(trainer)]
        name = self.monitor.partition("/")[0]
        if name in ("validation", "test") and any(read) and not any(name in one for one in read):
            hint = "; hold samples out by task.validation=0.2" if name == "validation" else ""
            raise ConfigError(
                f"{self.monitor_key}: expected {name} samples for the monitor {self.monitor!r}, got"
                f" none{hint}"
            )
        known = loggable(trainer, pl_module)
        if known is not None and not any(fnmatchcase(self.monitor, each) for each in known):
            raise self._unknown(known)

    def _unknown(self, known: Iterable[str]) -> ConfigError:
        scores = ("test/", "validation/")  # first, as a long message is cut
        ordered = sorted(known, key=lambda name: (not name.startswith(scores), name))
        told = [name for name in ordered if not name.startswith("time/")]
        return ConfigError(
            f"{self.monitor_key}: expected a logged value, got"
            f" {self.monitor!r}{nearest(self.monitor, told)} Logged are {', '.join(told)}."
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read a value that this round measured."""
        if self._is_new(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def _is_new(self, trainer: Trainer) -> bool:
        """True if this round measured the value.

        Raises:
            ConfigError: each observer of the run has measured, and none the value.
        """
        logged = trainer.callback_metrics
        current, last = logged.get(self.monitor), self._last
        self._last, self._measured = current, self._measured or current is not None
        rarest = max(getattr(callback, "every", 1) or 1 for callback in _callbacks(trainer))
        step = trainer.global_step
        if not self._measured and (step >= rarest or step == trainer.max_epochs):
            raise self._unknown(logged)
        return current is not None and current is not last

    def state_dict(self) -> dict[str, Any]:
        """Lightning's state, and whether the value was ever measured."""
        return super().state_dict() | {"measured": self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._measured = state_dict.get("measured", True)
        super().load_state_dict(state_dict)


class EarlyStop(_Monitoring, EarlyStopping):
    """The end of a run whose monitored value no longer improves; the run counts as finished.

    The last round is one that the `Evaluator` scores: if the value is measured more often, the run
    goes on to the next evaluation.

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
            monitor, min_delta, patience, False, mode, check_finite=False,
            check_on_train_epoch_end=True,
        )  # fmt: skip
        self.ended = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once what was killed between its last round and its result."""
        self._end(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check a value that this round measured; end in a round with an evaluation."""
        asked = trainer.should_stop
        if self.wait_count < self.patience:
            super().on_train_epoch_end(trainer, pl_module)
        trainer.should_stop = asked
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        step = trainer.global_step
        evaluations = [c.every for c in _callbacks(trainer) if hasattr(c, "held_out")]
        scored = all(step % every == 0 for every in evaluations)
        self.ended = self.wait_count >= self.patience and scored
        trainer.should_stop = trainer.should_stop or self.ended


class BestCheckpoint(_Monitoring, ModelCheckpoint):
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the files of rounds after the last checkpoint, which a kill left behind."""
        super().on_train_start(trainer, pl_module)
        assert self.dirpath is not None
        for path in Path(self.dirpath).glob("round-*.ckpt"):
            if int(re.findall(r"\d+", path.stem)[0]) > trainer.global_step:
                path.unlink()


def stopped_early(callbacks: Sequence[Callback]) -> bool:
    """True if an `EarlyStop` among these callbacks has ended the run."""
    return any(isinstance(one, EarlyStop) and one.ended for one in callbacks)


def loggable(trainer: Trainer, module: LightningModule) -> set[str] | None:
    """The values that a run can log, as its observers declare them in ``logs``; ``*``: any text.

    ``None`` if they are not known: a callback or a module of another package may log others.
    """
    parts = [module, *_callbacks(trainer)]
    if any(not type(part).__module__.startswith("fl_platform.") for part in parts):
        return None
    return {name for part in parts for name in getattr(part, "logs", ())}


def _callbacks(trainer: Trainer) -> list[Any]:
    return trainer.callbacks  # type: ignore[attr-defined]
