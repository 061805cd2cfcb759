"""The grid's own run: the parent that its cells are nested under, with its plan and its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fl_platform.grid.jobs import Board
from fl_platform.grid.plan import Cell
from fl_platform.grid.spec import Grid
from fl_platform.run import provenance
from fl_platform.tracking.lock import RunOwned
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.records import RecordError, StoredPlan, read_record, skip
from fl_platform.tracking.run_folder import all_runs, run_folder, write_json

KIND = "grid"
PLAN = "plan.json"


def plan_hash(name: str, cells: Sequence[Cell]) -> str:
    """SHA-256 of the grid's name and its cells, whatever their order."""
    text = "\n".join([KIND, name, *sorted(cell.config_hash for cell in cells)])
    return hashlib.sha256(text.encode()).hexdigest()


class Parent:
    """The parent run of a grid; the same command finds the same one again.

    Where another process runs the same grid, that process owns the parent run: this one then only
    runs cells (``run`` is None).
    """

    def __init__(self, grid: Grid, cells: Sequence[Cell], home: Path, run: ParentRun | None):
        self.grid, self.cells, self.run = grid, list(cells), run
        self.folder = run_folder(home, plan_hash(grid.name, cells))
        self.run_id = str((self.folder.describe() or {}).get("run_id", ""))

    def start(self, typed: Sequence[str]) -> None:
        """Write what is planned."""
        if self.run is None:
            return
        listed = [
            {"config_hash": cell.config_hash, "name": cell.name, "overrides": cell.overrides}
            for cell in self.cells
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
            params={"grid.cells": len(self.cells)},
            status="RUNNING",
            artifacts=[path],
        )

    def attach(self, paths: Sequence[Path], root: Path) -> None:
        """Keep copies of the report's files as artifacts, in their folders below ``report``."""
        if self.run is not None:
            self.run.attach(paths, root)

    def finish(self, board: Board, signal: int) -> None:
        """Write how the grid ended; counts of cells become metrics."""
        if self.run is None:
            return
        counts = {f"grid/{s}": len(board.of_state(s)) for s in ("done", "failed", "waiting")}
        failures = {e.cell.name: e.trace or e.reason for e in board.of_state("failed")}
        path = self.folder.artifacts / "failures.json"
        if failures:
            write_json(path, failures)
        self.run.note(
            values=[(self.run.next_step("grid/"), counts)], artifacts=[path] if failures else []
        )
        status = "KILLED" if signal else "FAILED" if failures else "FINISHED"
        self.run.leave(status, f"stopped by signal {signal}" if signal else "")


@contextmanager
def parent_of(grid: Grid, cells: Sequence[Cell], home: Path) -> Iterator[Parent]:
    """Hold the parent run of ``cells``; its logs of workers lie in its folder."""
    name = f"grid {grid.name} ({len(cells)} cells)"
    identity = plan_hash(grid.name, cells)
    try:
        run = ParentRun.open(home, name=name, identity=identity, experiment=grid.name)
    except RunOwned:
        yield Parent(grid, cells, home, None)
        return
    with run:
        yield Parent(grid, cells, home, run)


def planned(home: Path, experiment: str) -> set[str]:
    """The hashes of all cells that grids of ``experiment`` have planned in ``home``."""
    hashes: set[str] = set()
    for folder in all_runs(home):
        if (folder.describe() or {}).get("experiment") != experiment:
            continue
        try:
            plan = read_record(folder.artifacts / PLAN, StoredPlan, "plan") or {"cells": []}
        except RecordError as error:
            skip(error)
            continue
        hashes |= {cell["config_hash"] for cell in plan["cells"]}
    return hashes
