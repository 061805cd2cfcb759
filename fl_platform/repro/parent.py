"""MLflow run of a reproduction, with its report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_platform.core.text import reason
from fl_platform.tracking.active_run import RunRecord
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.exporter import Forwarder

KIND = "repro"


def publish(
    home: Path,
    *,
    name: str,
    experiment: str,
    at: float,
    tags: Mapping[str, str],
    values: Mapping[str, float],
    paths: Sequence[Path],
    tracking: str,
) -> str:
    """Record one reproduction as a run of kind ``repro``; returns the run id.

    If MLflow cannot be reached, a line is printed; ``fl-platform runs sync`` uploads the run later.
    """
    identity = hashlib.sha256(f"{KIND}\n{name}\n{at!r}".encode()).hexdigest()
    with RunRecord.open(
        home,
        name=name,
        config_hash=identity,
        experiment=experiment,
        conditions={},
        tracking="journal",
    ) as record:
        record.journal.note("tags", values={"kind": KIND, **tags})
        record.journal.metrics(0, values)
        for path in paths:
            copy = record.folder.artifacts / path.name
            copy.write_bytes(path.read_bytes())
            record.publish(copy, "report")
        record.journal.note("status", status="FINISHED", reason="")
        record.journal.flush()
        run_id, folder = record.run_id, record.folder
    if tracking == "mlflow":
        try:
            client: Any = store.connect(home)
            Forwarder(folder, home, client).forward()
        except Exception as error:
            print(f"not uploaded to MLflow ({reason(error)}); upload later: fl-platform runs sync")
    return run_id
