"""Types of the files below ``mlruns/``; no other code reads these files.

A record of a later version may contain more fields, which are ignored. A wrong type, a key twice,
a link or a file that is too large raises :class:`RecordError`, which names the file.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fl_platform.core.outside import CLASSES, OutsideError, parse_json, read_json

log = logging.getLogger(__name__)
_SKIPPED: set[str] = set()


class RecordError(RuntimeError):
    """A wrong stored file; the message names it, the expectation and what was found.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)


def _text(value: Any) -> Any:
    # not `str`: a file name that is not UTF-8 is stored with surrogates, which pydantic refuses
    if not isinstance(value, str) or len(value) > 65_536:
        raise ValueError("expected a text")
    return value


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, str | bool | int | float):
        raise ValueError("expected a number, a text, true, false or null")
    return value


def _stamp(value: Any) -> Any:
    kinds = [type(each) for each in value] if isinstance(value, list) else []
    if kinds != [str, int, int] or "\0" in value[0]:
        raise ValueError("expected a path, a size and a time")
    return value


Text = Annotated[Any, AfterValidator(_text)]
Scalar = Annotated[Any, AfterValidator(_scalar)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
Id = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
Moment = Annotated[float, Field(ge=-1e12, le=1e12)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Number = float | Literal["nan", "inf", "-inf"]


class Record(BaseModel):
    """A stored object; texts are not converted to numbers, and unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class Identity(Record):
    """``run.json``; since version 2 journal and checkpoints contain the run's identity too."""

    version: Annotated[int, Field(alias="schema", ge=1)] = 1
    run_id: Id
    name: Text
    config_hash: Hash
    experiment: Text
    parent_run_id: str = ""
    created: Moment
    conditions: dict[str, Scalar]
    continued: list[dict[str, Any]] = []


class StoredResult(Record):
    """``result.json``; a finished run has every field of a `Result`."""

    run_id: Id
    status: Literal["FINISHED", "DIVERGED", "KILLED", "FAILED"]
    config_hash: Hash
    reason: Text = ""
    rounds: Count | None = None
    accuracy_last: Percent | None = None
    accuracy_tail: Percent | None = None
    accuracy_best: Percent | None = None
    validation_tail: Percent | None = None
    test_at_best_validation: Percent | None = None
    accuracy_per_class: Annotated[list[Percent | None], Field(max_length=CLASSES)] = []
    seconds: Seconds | None = None
    seconds_training: Seconds | None = None
    weights_sha256: Digest | Literal[""] = ""
    alarms: Count = 0


class Forwarded(Record):
    """``forwarded.json``: how far the journal was copied to which store."""

    store: Text
    mlflow_run_id: Id
    offset: Count
    tail: str | None


class StoredPlannedRun(Record):
    """One run of a grid's ``plan.json``."""

    config_hash: Hash
    name: Text
    overrides: Any = None


class StoredPlan(Record):
    """``plan.json`` of a grid."""

    grid: Text
    cells: list[StoredPlannedRun]


class KnownData(Record):
    """A digest of data, and the stamps of the files from which it was computed."""

    digest: Digest
    files: Annotated[list[Annotated[Any, AfterValidator(_stamp)]], Field(min_length=1)]


class Stamp(Record):
    """The stamp of a checkpoint: its run, and the journal at its commit.

    Attributes:
        conditions: SHA-256 of the run's conditions.
        length, journal: bytes of the journal and their SHA-256.
    """

    run_id: Id
    config_hash: Hash
    conditions: Digest
    length: Count
    journal: Digest


class _Line(Record):
    time: Moment


class _Head(_Line):
    run_id: Id
    config_hash: Hash


class _Metrics(_Line):
    step: Count
    values: dict[str, Number]


class _Values(_Line):
    values: dict[str, Scalar]


class _Status(_Line):
    status: Literal["RUNNING", "FINISHED", "DIVERGED", "KILLED", "FAILED", "SCHEDULED"]
    reason: Text = ""


class _Artifact(_Line):
    path: Text
    folder: Text = ""


class _File(_Line):
    path: Text
    sha256: Digest


class _Alarm(_Line):
    message: Text


class _Dataset(_Line):
    name: Text
    digest: Text
    context: Text
    source: Text
    dtype: Text
    shape: list[Count]
    profile: dict[str, Scalar]


class _Model(_Line):
    path: Text
    registered: Text
    values: dict[str, Number]
    dataset: Text
    digest: Text


class _Trial(_Line):
    attack: list[Text]
    seed: Count
    on: Literal["validation", "test"]
    rounds: Count
    reference: bool
    curve: Annotated[list[Percent], Field(max_length=1_000_000)]
    reason: Text = ""
    seconds: Seconds


_LINES: dict[str, type[_Line]] = {
    "run": _Head,
    "metrics": _Metrics,
    "params": _Values,
    "tags": _Values,
    "status": _Status,
    "artifact": _Artifact,
    "file": _File,
    "alarm": _Alarm,
    "dataset": _Dataset,
    "model": _Model,
    "trial": _Trial,
}
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def parse_line(line: bytes | str) -> dict[str, Any]:
    """The record of one line of a journal, with words in metric values converted to numbers.

    Raises:
        ValueError: a line that is not a record.
    """
    record = parse_json(line.encode() if isinstance(line, str) else line, "a record")
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise ValueError("expected an object with a kind")
    model = _LINES.get(record["kind"])
    if model is not None:  # unknown kinds, of a later version, are ignored
        try:
            model.model_validate(record)
        except ValidationError as error:
            raise ValueError(described(error)) from None
    if record["kind"] == "metrics":
        values = record["values"].items()
        record["values"] = {k: _WORDS[v] if isinstance(v, str) else float(v) for k, v in values}
    return record


def read_record(path: Path, model: type[Record], kind: str = "record") -> dict[str, Any] | None:
    """The object in ``path``, checked by ``model``, or None without a file.

    Raises:
        RecordError: a wrong file.
    """
    try:
        content = read_json(path, kind)
        model.model_validate(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OutsideError as error:
        raise RecordError(path, str(error)) from None
    except ValidationError as error:
        raise RecordError(path, f"{path}: {described(error)}") from None
    found: dict[str, Any] = content
    return found


def described(error: ValidationError) -> str:
    """The first error, with its key."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"])) or "the whole"
    return f"{key[:200]}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def skip(error: RecordError | OutsideError) -> None:
    """Print once per process that a stored file is skipped, with the reason."""
    message = str(error)
    if message not in _SKIPPED:
        _SKIPPED.add(message)
        log.warning("skipped: %s", message)


def first_difference(
    expected: Mapping[str, Any], got: Mapping[str, Any], keys: Iterable[str]
) -> str:
    """``key: expected A, got B`` for the first of ``keys`` that differs; empty if none does."""
    for key in keys:
        if expected.get(key) != got.get(key):
            return f"{key}: expected {expected.get(key)!s:.16}, got {got.get(key)!s:.16}"
    return ""
