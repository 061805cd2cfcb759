"""Who watches the rounds: observers return numbers and never steer."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer

from fl_platform.federated.evaluation import Score, evaluate
from fl_platform.federated.federation import Samples
from fl_platform.federated.module import Diverged, FederatedModule
from fl_platform.federated.round import Round


class Evaluation(Callback):
    """Scores the global model every ``every`` rounds and after the last.

    Args:
        held_out: samples by name; metrics are ``<name>/accuracy`` and ``<name>/loss``.
        every: rounds between two evaluations.

    Attributes:
        scores: the newest score of each set, per class included.
    """

    def __init__(self, held_out: Mapping[str, Samples], every: int = 1) -> None:
        self.held_out = dict(held_out)
        self.every = every
        self.scores: dict[str, Score] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the samples to the device once."""
        self.held_out = {name: s.to(pl_module.device) for name, s in self.held_out.items()}

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """The scores, or nothing between two evaluations."""
        finished = done.index + 1
        if finished % self.every and finished != trainer.max_epochs:
            return {}
        metrics = {}
        for name, samples in self.held_out.items():
            score = evaluate(module.model, samples, module.federation.num_classes)
            self.scores[name] = score
            metrics[f"{name}/accuracy"] = score.accuracy
            metrics[f"{name}/loss"] = score.loss
            if not score.loss < float("inf"):
                raise Diverged(f"round {done.index}: the {name} loss is {score.loss}")
        return metrics


class Defended(Callback):
    """What the defense did to each round: rejected rows, lowered f, weight on Byzantine rows."""

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """Counts and shares of this round."""
        dropped, weights = done.aggregate.dropped, done.aggregate.weights
        lost = [] if dropped is None else dropped.tolist()
        metrics = {
            "round/byzantine": float(len(done.updates) - done.num_honest),
            "round/rejected": float(len(lost)),
            "round/rejected_honest": float(sum(row < done.num_honest for row in lost)),
            "round/clamped": float(done.aggregate.clamped),
        }
        if weights is not None:
            metrics["round/byzantine_weight"] = float(weights[done.num_honest :].sum())
        return metrics
