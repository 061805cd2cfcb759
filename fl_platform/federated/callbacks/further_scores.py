"""Scores that a configuration adds to the evaluation: F1, calibration, per class, per client."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from fl_platform.federated.evaluation import batch_size
from fl_platform.federated.federation import Samples
from fl_platform.federated.module import FederatedModule
from fl_platform.federated.round import Round
from fl_platform.metrics.scores import (
    calibration_error,
    class_accuracies,
    client_accuracies,
    macro_f1,
)


class FurtherScores(Callback):
    """Further scores of the global model, in the rounds of `Evaluator`.

    Args:
        held_out: samples by name.
        every: rounds between two measurements; the last round is measured too.
        scores: ``"f1"``: ``<name>/f1``; ``"calibration_error"``: ``<name>/calibration_error``;
            ``"per_class"``: ``<name>/class_<c>``, the accuracy of class c; ``"per_client"``:
            ``client/worst``, ``client/mean`` and ``client/variance`` of the accuracy on the
            training samples of each honest client.
    """

    def __init__(
        self, held_out: Mapping[str, Samples], every: int, scores: Collection[str]
    ) -> None:
        self.held_out = dict(held_out)
        self.every = every
        self.scores = frozenset(scores)
        ends = {"per_class": "class_*"}
        kinds = [ends.get(score, score) for score in sorted(self.scores - {"per_client"})]
        self.logs = [f"{name}/{kind}" for name in held_out for kind in kinds]
        if "per_client" in self.scores:
            self.logs += ["client/worst", "client/mean", "client/variance"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the samples to the device once."""
        self.held_out = {name: s.to(pl_module.device) for name, s in self.held_out.items()}

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """The chosen scores if this round is evaluated."""
        finished = done.index + 1
        due = finished % self.every == 0 or finished == trainer.max_epochs
        if not due or not trainer.is_global_zero:
            return {}
        values: dict[str, float] = {}
        if self.scores - {"per_client"}:
            for name, samples in self.held_out.items():
                values |= self._of_set(module, name, samples)
        if "per_client" in self.scores:
            values |= self._per_client(module)
        return values

    def _of_set(self, module: FederatedModule, name: str, samples: Samples) -> dict[str, float]:
        outputs, targets = outputs_of(module.model, samples), samples.targets
        values: dict[str, float] = {}
        if "f1" in self.scores:
            values[f"{name}/f1"] = macro_f1(outputs, targets)
        if "calibration_error" in self.scores:
            values[f"{name}/calibration_error"] = calibration_error(outputs, targets)
        if "per_class" in self.scores:
            shares = class_accuracies(outputs, targets)
            values |= {f"{name}/class_{label}": share for label, share in shares.items()}
        return values

    def _per_client(self, module: FederatedModule) -> dict[str, float]:
        samples = module.federation.samples
        right = outputs_of(module.model, samples).argmax(1) == samples.targets
        clients = enumerate(module.federation.clients)
        honest = [own for client, own in clients if client not in module.byzantine]
        return {f"client/{name}": value for name, value in client_accuracies(right, honest).items()}


@torch.no_grad()
def outputs_of(model: nn.Module, samples: Samples) -> Tensor:
    """``(N, C)`` outputs of ``model`` in evaluation mode, batch after batch."""
    was_training, size = model.training, batch_size(samples)
    model.eval()
    starts = range(0, len(samples), size)
    parts = [model(samples.read(slice(start, start + size))[0]) for start in starts]
    model.train(was_training)
    return torch.cat(parts)
