"""The outcome of a run, as it is stored and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fl_platform.tracking.folder import RunFolder


@dataclass(frozen=True)
class Result:
    """The outcome of one run; accuracies are shares from 0 to 1.

    Attributes:
        status: ``FINISHED``, ``KILLED`` (resumable) or ``DIVERGED``, for which ``reason`` says
            why and accuracies say how it stood when it left the numbers.
        rounds: rounds that are done.
        accuracy_last: on the test set, at the last evaluation.
        accuracy_tail: mean of the last evaluations (ten unless configured otherwise).
        accuracy_best: highest of all; chosen on the test set, so no honest estimate.
        validation_tail: like ``accuracy_tail`` on samples held out of the training set.
        accuracy_per_class: at the last evaluation; empty where nothing was run.
        seconds: wall time of the process that finished the run.
        seconds_training: of local training, over all processes.
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

    def accuracies(self) -> dict[str, float]:
        """The figures that runs are compared by in MLflow, beside their curves."""
        figures = {
            "result/accuracy_last": self.accuracy_last,
            "result/accuracy_tail": self.accuracy_tail,
            "result/accuracy_best": self.accuracy_best,
            "result/validation_tail": self.validation_tail,
        }
        return {key: value for key, value in figures.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``result.json`` and ``--json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Result:
        """The result that ``to_json`` wrote; what a later version added is passed over."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in stored.items() if key in known}
        return cls(**{**values, "accuracy_per_class": tuple(values["accuracy_per_class"])})


def finished(folder: RunFolder) -> Result | None:
    """The stored result of a run that has come to its end, else ``None``."""
    stored = folder.result
    return None if stored is None else Result.from_json(stored)
