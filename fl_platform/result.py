"""What a run amounts to, read back from its journal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fl_platform.tracking.history import History


@dataclass(frozen=True)
class Result:
    """The outcome of one run; accuracies are shares from 0 to 1 on the test set.

    Attributes:
        accuracy_last: after the last round.
        accuracy_tail: mean of the last evaluations (ten unless configured otherwise).
        accuracy_best: highest of all; chosen on the test set, so no honest estimate.
        accuracy_per_class: after the last round.
        seconds: wall time of this process's part of the run; of earlier parts too.
        seconds_training: of local training alone.
        weights_sha256: of the final parameters and buffers.
    """

    run_id: str
    name: str
    status: str
    rounds: int
    accuracy_last: float | None
    accuracy_tail: float | None
    accuracy_best: float | None
    validation_tail: float | None
    accuracy_per_class: tuple[float | None, ...]
    seconds: float
    seconds_training: float
    config_hash: str
    weights_sha256: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``result.json`` and ``--json``."""
        return asdict(self)


def tail_mean(history: History, key: str, tail: int) -> float | None:
    """The mean of the last ``tail`` values of a metric; ``None`` where there is none."""
    values = [value for _, value in history.curve(key)][-tail:]
    return sum(values) / len(values) if values else None


def best(history: History, key: str) -> float | None:
    """The highest value of a metric."""
    return max((value for _, value in history.curve(key)), default=None)


def total(history: History, key: str) -> float:
    """The sum of a metric over the rounds."""
    return sum(value for _, value in history.curve(key))
