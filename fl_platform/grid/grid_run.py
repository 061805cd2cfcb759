"""The parent run of a grid: plan, report and status; the grid's runs are its children."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fl_platform.grid.filed import PLAN
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.spec import Grid
from fl_platform.run import provenance
from fl_platform.run.naming import run_tags
from fl_platform.tracking.lock import RunOwned, alone
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import run_folder, write_json

KIND = "grid"
RULES = ("attack", "defense")
PARAMS = (*RULES, "task", "mixing", "preset", "seed", "rounds")  # that a parent run shows


def plan_hash(name: str, planned: Sequence[PlannedRun]) -> str:
    """SHA-256 of the grid's name and its runs; independent of their order."""
    text = "\n".join([KIND, name, *sorted(run.config_hash for run in planned)])
    return hashlib.sha256(text.encode()).hexdigest()


def plan_params(planned: Sequence[PlannedRun]) -> dict[str, str]:
    """What the runs of a grid have: ``grid.attack: none, strike(nu=1)``, in order of the plan."""
    found: dict[str, dict[str, None]] = {}
    for run in planned:
        values = {**run_tags(run.config), "rounds": str(run.config.rounds)}
        for key in PARAMS:
            found.setdefault(key, {})[values[f"{key}_label" if key in RULES else key]] = None
    return {f"grid.{key}": ", ".join(filter(None, seen)) or "none" for key, seen in found.items()}


class GridRun:
    """The parent run of a grid; the same command opens the same parent run again.

    A second process of the same grid executes runs but does not write the parent run: there
    ``run`` is ``None``.
    """

    def __init__(
        self, grid: Grid, planned: Sequence[PlannedRun], home: Path, run: ParentRun | None
    ) -> None:
        self.grid, self.planned, self.run = grid, list(planned), run
        self.folder = run_folder(home, plan_hash(grid.name, planned))
        self.run_id = str((self.folder.describe() or {}).get("run_id", ""))

    def start(self, typed: Sequence[str]) -> None:
        """Write the plan, tags and parameters; ``typed``: the command's arguments."""
        if self.run is None:
            return
        listed = [
            {"config_hash": run.config_hash, "name": run.name, "overrides": run.overrides}
            for run in self.planned
        ]
        path = self.folder.artifacts / PLAN
        write_json(path, {"grid": self.grid.name, "title": self.grid.title, "cells": listed})
        self.run.note(
            tags={
                "kind": KIND,
                "grid": self.grid.name,
                "title": self.grid.title,
                "overrides": " ".join(typed),
                "unknown": " ".join(self.grid.unknown),
                **provenance.code_tags(),
            },
            params={"grid.cells": len(self.planned), **plan_params(self.planned)},
            status="RUNNING",
            artifacts=[path],
        )

    def attach(self, paths: Sequence[Path], root: Path) -> None:
        """Copy the report's files, below ``root``, to the artifacts below ``report``."""
        if self.run is not None:
            self.run.attach(paths, root)

    def finish(self, table: JobTable, signal: int) -> None:
        """Write the final status, the number of jobs per state and the causes of failures."""
        if self.run is None:
            return
        counts = {f"grid/{s}": len(table.of_state(s)) for s in ("done", "failed", "waiting")}
        failures = {job.planned.name: job.trace or job.reason for job in table.of_state("failed")}
        path = self.folder.artifacts / "failures.json"
        if failures:
            write_json(path, failures)
        self.run.note(
            values=[(self.run.next_step("grid/"), counts)], artifacts=[path] if failures else []
        )
        status = "FAILED" if failures else "FINISHED" if table.complete else "SCHEDULED"
        self.run.leave(
            "KILLED" if signal else status, f"stopped by signal {signal}" if signal else ""
        )


@contextmanager
def open_grid_run(grid: Grid, planned: Sequence[PlannedRun], home: Path) -> Iterator[GridRun]:
    """Open the parent run of ``planned`` and hold its lock."""
    name = f"grid {grid.name} ({len(planned)} runs)"
    identity = plan_hash(grid.name, planned)
    try:
        run = ParentRun.open(home, name=name, identity=identity, experiment=grid.name)
    except RunOwned:
        yield GridRun(grid, planned, home, None)
        return
    with run:
        yield GridRun(grid, planned, home, run)


@contextmanager
def join_grid_run(
    grid: Grid,
    planned: Sequence[PlannedRun],
    home: Path,
    known: Mapping[str, Any] | None = None,
) -> Iterator[GridRun]:
    """Share the parent run of ``planned`` with other workers; the last one writes its status.

    Args:
        known: the parent's ``run.json`` by a worker of another home.
    """
    identity = plan_hash(grid.name, planned)
    folder = run_folder(home, identity)
    name = f"grid {grid.name} ({len(planned)} runs)"
    with ExitStack() as stack:
        try:
            with alone(folder.path.parent / ".grid.lock"):
                run = ParentRun.join(
                    home,
                    name=name,
                    identity=identity,
                    experiment=grid.name,
                    known=known or folder.describe(),
                )
            stack.enter_context(run)
        except RunOwned:  # by a grid that is no worker, which writes the parent run
            yield GridRun(grid, planned, home, None)
            return
        yield GridRun(grid, planned, home, run)
