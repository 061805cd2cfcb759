"""The outcome of a run, as stored and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import run_folder


@dataclass(frozen=True)
class Result:
    """The outcome of one run; accuracies in percent.

    Attributes:
        status: ``FINISHED``, ``KILLED`` (resumable) or ``DIVERGED``, with ``reason``.
        rounds: number of completed rounds.
        accuracy_last: on the test set, at the last evaluation; ``None`` for a diverged run.
        accuracy_tail: mean of the last evaluations (ten unless configured otherwise).
        accuracy_best: highest of all; selected on the test set, so biased upwards.
        validation_tail: like ``accuracy_tail`` on samples held out of the training set.
        test_at_best_validation: on the test set, in the round of the highest validation accuracy;
            ``None`` without validation samples (``task.validation``).
        accuracy_per_class: at the last evaluation; empty if no round was run.
        seconds: wall time of the process that ended the run.
        seconds_training: of local training, over all processes.
        weights_sha256: of the final parameters and buffers.
        alarms: number of values that differed when a round was repeated; 0 is correct.
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
    alarms: int = 0
    test_at_best_validation: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Result:
        """The result with the entries of ``result.json``; unknown entries are ignored."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in stored.items() if key in known}
        return cls(**{**values, "accuracy_per_class": tuple(values["accuracy_per_class"])})


_OPTIONAL = ("reason", "alarms", "test_at_best_validation")  # absent in earlier results
_NEEDED = tuple(field.name for field in fields(Result) if field.name not in _OPTIONAL)


def finished(home: Path, config_hash: str) -> Result | None:
    """The stored result of a finished run, else ``None``; imports neither torch nor Lightning.

    The journal's status decides: a run that was killed between the result and the last record of
    the journal is not finished.

    Raises:
        RecordError: a wrong file, or a file of another run.
    """
    folder = run_folder(home, config_hash)
    described = folder.describe()
    if described is None:
        return None
    history = folder.history(described)
    if history.status not in ("FINISHED", "DIVERGED"):
        return None
    stored = folder.result
    if stored is None:
        return None
    if described["config_hash"] != config_hash or stored["status"] != history.status:
        problem = f"expected {config_hash[:16]} {history.status}, got {stored['status']}"
        raise RecordError(folder.result_file, f"{folder.result_file}: {problem}.")
    content = {"name": described["name"], **stored, "alarms": len(history.alarms)}
    absent = [name for name in _NEEDED if name not in content]
    if absent:
        raise RecordError(
            folder.result_file,
            f"{folder.result_file}: expected {absent[0]}, got none. Remove the file: the same"
            " command writes it again.",
        )
    return Result.from_json(content)
