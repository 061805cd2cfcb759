"""Observers of the rounds: they return numbers and do not change the training.

``logs`` has the names of all values that an observer may return; ``*`` stands for any text.

The observers here work in two steps. ``measure`` returns numbers, on a GPU as tensors; it may be
called twice for one round, the second time with other rows, and changes no state. ``finish``
receives the numbers as floats and returns the metrics. An observer with ``on_round_end`` instead is
called once, after the checks of the round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import Dataset

from fl_platform.config import Config, build_rule
from fl_platform.core.deferred import Number
from fl_platform.federated.callbacks.roles import find_roles
from fl_platform.federated.evaluation import Score, evaluate
from fl_platform.federated.federation import Samples
from fl_platform.federated.module import Diverged, FederatedModule
from fl_platform.federated.round import Round
from fl_platform.metrics import (
    deviation,
    kappa_bound,
    selection,
    skew,
    skew_null,
)
from fl_platform.metrics.robustness import kappa_found, kappa_products
from fl_platform.metrics.selection import kept_coordinates
from fl_platform.metrics.skew import NAMES as SKEW_NAMES
from fl_platform.metrics.skewed_set import highest, search_direction
from fl_platform.tracking.clouds import FEWEST_HONEST, write_cloud

Scorer = Callable[[nn.Module, Samples, int], Score]
Values = Mapping[str, Any]  # measured values as floats and lists of floats


class Evaluator(Callback):
    """Evaluation of the global model every ``every`` rounds and after the last.

    Args:
        held_out: by name `Samples`, or a data set of ``(input, target)`` pairs; metrics are
            ``<name>/accuracy`` and ``<name>/loss``.
        every: rounds per evaluation.
        score: from model, samples and the number of classes; ``None`` for `evaluate`.

    Attributes:
        scores: the newest score of each set, per class included.
    """

    def __init__(
        self,
        held_out: Mapping[str, Samples | Dataset[Any]],
        every: int = 1,
        score: Scorer | None = None,
    ) -> None:
        self.held_out = {name: Samples.of(source) for name, source in held_out.items()}
        self.every = every
        self.score = score or evaluate
        self.scores: dict[str, Score] = {}
        self.logs = [f"{name}/{kind}" for name in held_out for kind in ("accuracy", "loss")]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the samples to the device once."""
        self.held_out = {name: s.to(pl_module.device) for name, s in self.held_out.items()}

    def measure(self, trainer: Trainer, module: FederatedModule, done: Round) -> dict[str, Number]:
        """The scores; empty between two evaluations."""
        finished = done.index + 1
        if finished % self.every and finished != trainer.max_epochs:
            return {}
        if not trainer.is_global_zero:  # every process has the same model
            return {}
        numbers: dict[str, Any] = {}
        for name, samples in self.held_out.items():
            score = self.score(module.model, samples, module.federation.num_classes)
            numbers[f"{name}/accuracy"] = score.accuracy
            numbers[f"{name}/loss"] = score.loss
            numbers[f"{name}/per_class"] = score.per_class
        return numbers

    def finish(self, done: Round, values: Values) -> dict[str, float]:
        """Store the scores; a loss that is not finite ends the run."""
        metrics: dict[str, float] = {}
        for name in self.held_out if values else ():
            accuracy, loss = values[f"{name}/accuracy"], values[f"{name}/loss"]
            self.scores[name] = Score(accuracy, loss, tuple(values[f"{name}/per_class"]))
            metrics |= {f"{name}/accuracy": accuracy, f"{name}/loss": loss}
            if not loss < float("inf"):
                raise Diverged(f"round {done.index}: the {name} loss is {loss}")
        return metrics


class Diagnosis(Callback):
    """Effects of attack and defense in each round: distances, weights, removed rows."""

    logs = (
        *("round/byzantine", "round/rejected", "round/rejected_honest", "round/clamped"),
        *("round/known", "round/deviation", "round/deviation_ratio", "round/cosine"),
        *("round/honest_radius", "round/byzantine_distance", "round/byzantine_cosine"),
        *("round/byzantine_weight", "round/honest_left_out", "round/effective_rows"),
        "round/byzantine_coordinates",
    )

    def measure(self, trainer: Trainer, module: FederatedModule, done: Round) -> dict[str, Number]:
        """``round/…`` of this round: `deviation`, `selection`, counts of gate and knowledge.

        A rule without row weights that sorts coordinates has `kept_coordinates` instead of
        `selection`, where it was given the rows as they were received.
        """
        aggregate, lost = done.aggregate, []
        if aggregate.dropped is not None:
            lost = aggregate.dropped.tolist()
        values: dict[str, Number] = {
            "byzantine": len(done.updates) - done.num_honest,
            "rejected": len(lost),
            "rejected_honest": sum(row < done.num_honest for row in lost),
            "clamped": aggregate.clamped,
        }
        if done.known is not None:
            values["known"] = done.known
        if done.honest is not None:
            values |= deviation(done.honest, aggregate.vector, done.byzantine)
        if aggregate.weights is not None:
            values |= selection(aggregate.weights, done.num_honest)
        elif not lost and not (chain := find_roles(trainer)[0].chain).mixings:
            f = done.num_byzantine
            values |= kept_coordinates(chain.rule, done.updates, done.num_honest, f)
        return {f"round/{name}": value for name, value in values.items()}

    def finish(self, done: Round, values: Values) -> dict[str, float]:
        """The numbers, unchanged."""
        return {name: float(value) for name, value in values.items()}


class Skew(Callback):
    """Measures of gradient skew every ``every`` rounds; their sign-flip null every ``null``."""

    def __init__(self, every: int, null: int = 0) -> None:
        self.every = every
        self.null = null
        ends = [""] * bool(every) + ["_null", "_z"] * bool(null)
        self.logs = [f"skew/{name}{end}" for name in SKEW_NAMES for end in ends]

    def measure(self, trainer: Trainer, module: FederatedModule, done: Round) -> dict[str, Number]:
        """``skew/…`` of the honest updates."""
        if done.honest is None or len(done.honest) < 3:
            return {}
        values: dict[str, Number] = {}
        f = hidden(done)
        if self.every and done.index % self.every == 0:
            values |= skew(done.honest, f)
        if self.null and done.index % self.null == 0:
            values |= skew_null(done.honest, f, seed=module.seed, index=done.index)
        return {f"skew/{name}": value for name, value in values.items()}

    def finish(self, done: Round, values: Values) -> dict[str, float]:
        """The numbers, unchanged."""
        return dict(values)


class Robustness(Callback):
    """The kappa that a round requires of the rule, beside the proven constant of the rule.

    Args:
        every: rounds per measurement.
        rule: the configured defense, for its `metrics.kappa_bound`; ``None`` if its constant does
            not hold.
    """

    logs = ("round/kappa", "round/kappa_worst", "round/kappa_bound")

    def __init__(self, every: int, rule: Callable[..., Any] | None) -> None:
        self.every = every
        self.rule = rule

    def measure(self, trainer: Trainer, module: FederatedModule, done: Round) -> dict[str, Number]:
        """The inner products from which kappa is computed."""
        rows, honest = len(done.updates), done.num_honest
        if done.index % self.every or not honest or 2 * honest <= rows:
            return {}
        return kappa_products(done.updates, done.aggregate.vector)

    def finish(self, done: Round, values: Values) -> dict[str, float]:
        """``round/kappa`` with the honest rows as G, ``…_worst``, ``…_bound`` if it holds."""
        if not values:
            return {}
        rows, honest = len(done.updates), done.num_honest
        parts = (torch.as_tensor(values[name]) for name in ("gram", "inner"))
        gram, inner = (part.double().cpu() for part in parts)
        found = kappa_found(gram.reshape(rows, rows), inner, values["length_sq"], honest)
        true_f = done.num_byzantine == rows - honest and not done.aggregate.clamped
        if self.rule is not None and true_f:  # the bound holds only if the assumed f is the true f
            bound = kappa_bound(self.rule, rows, rows - honest)
            if bound is not None and math.isfinite(bound):
                found["kappa_bound"] = bound
        return {f"round/{name}": value for name, value in found.items()}


class Cloud(Callback):
    """Stored Gram matrices of honest updates, one Byzantine row and the mean, for figures.

    Args:
        every: rounds per cloud.
        folder: folder of ``cloud_<round>.npz``: ``gram`` ``(h + 2, h + 2)`` about the honest mean,
            rows in the order honest, Byzantine (absent without an attack), mean; ``num_honest``;
            ``skewed``, the indices of STRIKE's skewed set.
    """

    def __init__(self, every: int, folder: Path) -> None:
        self.every = every
        self.folder = folder

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """Write this round's cloud if one is due and there are enough honest updates."""
        if done.index % self.every or done.honest is None or len(done.honest) < FEWEST_HONEST:
            return {}
        honest, mean = done.honest, done.honest.mean()
        rows = torch.cat([honest.matrix, done.byzantine[:1], mean[None]]) - mean
        gram = honest.summed(rows.double() @ rows.double().T).cpu().numpy()
        size = max(done.num_honest - hidden(done), 1)
        skewed = highest(honest.project(search_direction(honest)), size)
        if not trainer.is_global_zero:
            return {}
        write_cloud(self.folder, done.index + 1, gram, done.num_honest, skewed.tolist())
        return {}


class Metric(Callback):
    """A metric of the configuration, measured every ``every`` rounds.

    Args:
        name: prefix of the logged values, ``name/key``.
        rule: ``rule(round) -> {key: value}``; one with memory has ``state_dict`` and
            ``load_state_dict``.
        every: rounds between two measurements.
    """

    def __init__(self, name: str, rule: Callable[[Round], dict[str, float]], every: int) -> None:
        self.name = name
        self.rule = rule
        self.every = every
        self.logs = [f"{name}/*"]

    @property
    def state_key(self) -> str:
        """A key with the metric's name: a run may have several metrics."""
        return f"Metric.{self.name}"

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """``name/key`` of this round if one is due."""
        if done.index % self.every:
            return {}
        return {f"{self.name}/{key}": float(value) for key, value in self.rule(done).items()}

    def state_dict(self) -> dict[str, Any]:
        """The memory of the metric."""
        return self.rule.state_dict() if hasattr(self.rule, "state_dict") else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the memory of the metric."""
        if hasattr(self.rule, "load_state_dict"):
            self.rule.load_state_dict(state_dict)


def hidden(done: Round) -> int:
    """Number of rows that STRIKE sends or would send: f_t, not the assumed f."""
    return len(done.cohort.byzantine) or done.num_byzantine


def constant_of(config: Config) -> Callable[..., Any] | None:
    """The configured defense if its own constant holds: no step before it, f as configured."""
    if config.mixing or config.defense["assumed_f"] is not None:
        return None
    rule: Callable[..., Any] = build_rule(config.defense, config.seed)
    return rule


def build_observers(config: Config, folder: Path) -> list[Callback]:
    """The observers of a configuration; files are written below ``folder``."""
    asked = config.observers
    observers: list[Callback] = [Diagnosis()]
    if asked.skew.every or asked.skew.null_every:
        observers.append(Skew(asked.skew.every, asked.skew.null_every))
    if asked.skew.every:
        observers.append(Robustness(asked.skew.every, constant_of(config)))
    if asked.cloud.every:
        observers.append(Cloud(asked.cloud.every, folder))
    for name, node in asked.metrics.items():
        observers.append(Metric(name, build_rule(node, config.seed), node["every"]))
    return observers
