"""The global network as a Lightning module: prediction, evaluation loops, saved hyperparameters."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from fl_platform.federated.client_training import LocalTraining
from fl_platform.federated.evaluation import batch_size
from fl_platform.federated.federation import Federation, Samples
from fl_platform.tracking.checkpoint import CheckpointFile, is_committed, refuse_code

TO_PASS = "given_functions"  # key of a checkpoint


class GlobalModel(LightningModule):
    """A network that `Trainer` validates, tests, predicts with, saves and loads.

    ``trainer.validate`` and ``trainer.test`` log ``<stage>/accuracy`` and ``<stage>/loss`` (mean
    cross-entropy) for batches ``(inputs, targets)``. Without ``dataloaders`` they read the samples
    of the `Evaluator` among the trainer's callbacks. Integer images are normalised like those of
    the clients.

    Args:
        model: the global network.
        federation: the clients' samples.
        local: how clients train; the fields of `LocalTraining` by name, or ``None`` for its
            defaults.
    """

    def __init__(
        self,
        model: nn.Module,
        federation: Federation,
        local: LocalTraining | Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.federation = federation
        given = LocalTraining(**local) if isinstance(local, Mapping) else local
        self.local = given or LocalTraining()
        self._to_pass: list[str] = []

    def keep_hyperparameters(self, plain: Sequence[str], others: Mapping[str, Any]) -> None:
        """Save arguments of the constructor, from where this is called.

        Args:
            plain: names of arguments that are numbers or text, saved beside ``local``.
            others: functions and data that no checkpoint contains, by name; ``None`` for one that
                was not given.
        """
        self._to_pass = [name for name, value in others.items() if value is not None]
        if self.local.schedule is None:
            self.hparams["local"] = asdict(self.local)
        else:
            self._to_pass.append("local")
        here = inspect.currentframe()
        self.save_hyperparameters(*plain, frame=None if here is None else here.f_back)

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs of the global network, one row per input."""
        outputs: Tensor = self.model(self._read(inputs)[0])
        return outputs

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log ``validation/accuracy`` and ``validation/loss``."""
        self._score("validation", batch)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log ``test/accuracy`` and ``test/loss``."""
        self._score("test", batch)

    def predict_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        """The outputs for a batch of inputs, or of inputs and targets."""
        outputs: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return outputs

    def val_dataloader(self) -> Any:
        """The samples ``validation`` of the `Evaluator`; none in ``fit``, where it reads them."""
        if self.trainer.state.fn != "fit":
            return self._held_out("validation")
        warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")
        return []

    def test_dataloader(self) -> Any:
        """The samples ``test`` of the `Evaluator`."""
        return self._held_out("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the names of the functions that this module was given and no checkpoint contains."""
        checkpoint[TO_PASS] = list(self._to_pass)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Warn of functions that the saved module was given and this one was not."""
        missing = [name for name in checkpoint.get(TO_PASS, []) if name not in self._to_pass]
        if missing:
            given = ", ".join(f"{name}=..." for name in missing)
            warnings.warn(
                f"The saved module was given {given}, which no checkpoint contains; pass the same"
                " before you train it further. Predictions do not depend on it.",
                stacklevel=2,
            )

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The module of a checkpoint, of Lightning's or of a run's ``checkpoint.pt``.

        Numbers and text among the constructor's arguments are read from the checkpoint; the
        weights of ``model`` are replaced by the saved ones.

        Raises:
            TypeError: ``model`` or ``federation`` is missing; the message names it.
            ValueError: ``weights_only=False``.
        """
        refuse_code(kwargs.pop("weights_only", None))
        known = inspect.signature(cls).parameters
        missing = [name for name in ("model", "federation") if name in known and name not in kwargs]
        if missing:
            raise TypeError(
                f"Expected the arguments model and federation, got no {' and no '.join(missing)}: a"
                f" checkpoint contains weights, numbers and text only. Call {cls.__name__}"
                ".load_from_checkpoint(path, model=network, federation=federation)."
            )
        source = checkpoint_path
        if isinstance(source, str | Path) and is_committed(Path(source)):
            source = io.BytesIO()
            torch.save(CheckpointFile(checkpoint_path).load(), source)
            source.seek(0)
        return super().load_from_checkpoint(  # type: ignore[misc]
            source, *args, weights_only=True, **kwargs
        )

    def _score(self, stage: str, batch: Sequence[Tensor]) -> None:
        inputs, targets = self._read(*batch)
        outputs = self.model(inputs)
        scores = {
            f"{stage}/accuracy": (outputs.argmax(1) == targets).double().mean(),
            f"{stage}/loss": F.cross_entropy(outputs, targets),
        }
        self.log_dict(scores, batch_size=len(targets), on_step=False, on_epoch=True)

    def _read(self, inputs: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A batch with its integer images normalised like those of the clients."""
        targets = inputs.new_zeros(len(inputs)) if targets is None else targets
        return replace(self.federation.samples, inputs=inputs, targets=targets).read(slice(None))

    def _held_out(self, name: str) -> Any:
        """The samples of that name of an observer among the trainer's callbacks."""
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            samples: Samples | None = getattr(callback, "held_out", {}).get(name)
            if samples is not None:
                pairs = TensorDataset(samples.inputs, samples.targets)
                return DataLoader(pairs, batch_size(samples))
        return _NoLoader(name)


class _NoLoader:
    """In place of a loader that was not given: refuses once Lightning reads it.

    Lightning changes `DataLoader` while it calls a hook that returns one. An error in the hook
    would leave it changed, and loaders that the same process creates afterwards would not work.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Iterator[Any]:
        raise ValueError(
            f"Expected dataloaders=..., or Evaluator({{{self._name!r}: samples}}) among the"
            " callbacks of the trainer, got neither."
        )
