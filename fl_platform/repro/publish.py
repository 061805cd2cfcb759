"""Parent run of a reproduction, with its report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fl_platform.run import provenance
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.uploader import follow

KIND = "repro"


def publish(
    home: Path,
    *,
    name: str,
    experiment: str,
    at: float,
    tags: Mapping[str, str],
    params: Mapping[str, str | int | float],
    values: Mapping[str, float],
    paths: Sequence[Path],
    tracking: str,
) -> str:
    """Record one reproduction as a run of kind ``repro``; returns the run id."""
    identity = hashlib.sha256(f"{KIND}\n{name}\n{at!r}".encode()).hexdigest()
    with ParentRun.open(home, name=name, identity=identity, experiment=experiment) as run:
        follow(home, tracking, run.folder.path)
        run.note(
            tags={"kind": KIND, **provenance.code_tags(), **tags}, params=params,
            values=[(0, values)], status="RUNNING",
        )  # fmt: skip
        for path in paths:
            run.attach([path], path.parent)
        run.leave("FINISHED")
    return run.run_id
