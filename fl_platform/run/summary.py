"""From a run's journal and final weights to the entries of its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fl_platform.config import Config
from fl_platform.federated.evaluation import Score
from fl_platform.tracking.checkpoint import weights_sha256
from fl_platform.tracking.history import History


def summary(
    history: History,
    scores: Mapping[str, Score],
    weights: Mapping[str, Tensor],
    config: Config,
) -> dict[str, Any]:
    """What a result says beside status and accuracy over the evaluations; see `Result`."""
    validation = [value for _, value in history.curve("validation/accuracy")]
    per_class = scores["test"].per_class if "test" in scores else ()
    return {
        "rounds": max((step for step, _ in history.curve("time/local")), default=0),
        "validation_tail": percent(validation, config.evaluation.tail),
        "accuracy_per_class": [None if math.isnan(share) else 100 * share for share in per_class],
        "seconds_training": sum(value for _, value in history.curve("time/local")),
        "weights_sha256": weights_sha256(_flat(weights)),
    }


def percent(accuracies: Sequence[float], tail: int) -> float:
    """Mean of the last ``tail`` accuracies (shares from 0 to 1) in percent; NaN without any."""
    last = [100 * value for value in accuracies[-tail:]]
    return sum(last) / len(last) if last else math.nan


def _flat(weights: Mapping[str, Tensor]) -> Tensor:
    """All tensors of a state in order, as float64, which holds float32 and counters exactly."""
    return torch.cat([value.detach().cpu().double().reshape(-1) for value in weights.values()])
