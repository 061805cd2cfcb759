"""From a run's journal to its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fl_platform.config import Config
from fl_platform.federated.evaluation import Score
from fl_platform.result import Result
from fl_platform.tracking.checkpoint import weights_sha256
from fl_platform.tracking.history import History


def summarise(
    config: Config,
    identity: Mapping[str, Any],
    history: History,
    *,
    status: str,
    reason: str,
    score: Score | None,
    weights: Mapping[str, Tensor],
    seconds: float,
) -> Result:
    """The result of a run that has just come to ``status``."""
    test = [value for _, value in history.curve("test/accuracy")]
    validation = [value for _, value in history.curve("validation/accuracy")]
    tail = config.evaluation.tail
    per_class = score.per_class if score is not None else ()
    return Result(
        run_id=identity["run_id"],
        name=identity["name"],
        status=status,
        rounds=max((step for step, _ in history.curve("time/local")), default=0),
        accuracy_last=test[-1] if test else None,
        accuracy_tail=_mean(test[-tail:]),
        accuracy_best=max(test, default=None),
        validation_tail=_mean(validation[-tail:]),
        accuracy_per_class=tuple(None if math.isnan(value) else value for value in per_class),
        seconds=seconds,
        seconds_training=sum(value for _, value in history.curve("time/local")),
        config_hash=identity["config_hash"],
        weights_sha256=weights_sha256(_flat(weights)),
        reason=reason,
    )


def _flat(weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().cpu().double().reshape(-1) for value in weights.values()])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
