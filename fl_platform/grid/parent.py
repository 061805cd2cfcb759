"""The grid's own run: the parent that its cells are nested under, with its plan and its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_platform.grid.jobs import Board
from fl_platform.grid.plan import Cell
from fl_platform.grid.spec import Grid
from fl_platform.run import provenance
from fl_platform.tracking.active_run import RunRecord
from fl_platform.tracking.lock import RunOwned
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

    Where another process runs the same grid, the record is its: this process then only works
    off cells (``record`` is None).
    """

    def __init__(self, grid: Grid, cells: Sequence[Cell], home: Path, record: RunRecord | None):
        self.grid, self.cells, self.record = grid, list(cells), record
        self.folder = run_folder(home, plan_hash(grid.name, cells))
        self.run_id = str((self.folder.describe() or {}).get("run_id", ""))

    def start(self, typed: Sequence[str]) -> None:
        """Say what is planned."""
        if self.record is None:
            return
        commit, dirty = provenance.git_state()
        tags = {
            "kind": KIND,
            "grid": self.grid.name,
            "title": self.grid.title,
            "overrides": " ".join(typed),
            "unknown": " ".join(self.grid.unknown),
            "commit": commit,
            "dirty": str(dirty).lower(),
            "code_fingerprint": provenance.code_fingerprint(),
        }
        self.record.journal.note("tags", values=tags)
        self.record.journal.note("params", values={"grid.cells": len(self.cells)})
        self.record.journal.note("status", status="RUNNING")
        listed = [
            {"config_hash": cell.config_hash, "name": cell.name, "overrides": cell.overrides}
            for cell in self.cells
        ]
        path = self.folder.artifacts / PLAN
        write_json(path, {"grid": self.grid.name, "title": self.grid.title, "cells": listed})
        self.record.publish(path)

    def attach(self, paths: Sequence[Path], root: Path) -> None:
        """Keep copies of the report's files as artifacts, in their folders below ``report``."""
        if self.record is None:
            return
        for path in paths:
            inside = Path("report") / path.relative_to(root)
            copy = self.folder.artifacts / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            self.record.publish(copy, str(inside.parent))

    def finish(self, board: Board, status: Any, reason: str = "") -> None:
        """Say how it ended; counts of cells become metrics."""
        if self.record is None:
            return
        step = self.record.journal.history.next_step("grid/")
        counts = {f"grid/{s}": len(board.of_state(s)) for s in ("done", "failed", "waiting")}
        failures = {e.cell.name: e.trace or e.reason for e in board.of_state("failed")}
        if failures:
            path = self.folder.artifacts / "failures.json"
            write_json(path, failures)
            self.record.publish(path)
        self.record.journal.metrics(step, counts)
        self.record.journal.note("status", status=status, reason=reason)


@contextmanager
def parent_of(grid: Grid, cells: Sequence[Cell], home: Path) -> Iterator[Parent]:
    """Hold the parent run of ``cells``; its logs of workers lie in its folder."""
    name = f"grid {grid.name} ({len(cells)} cells)"
    try:
        record: RunRecord | None = RunRecord.open(
            home,
            name=name,
            config_hash=plan_hash(grid.name, cells),
            experiment=grid.name,
            conditions={},
            tracking="journal",
        )
    except RunOwned:
        record = None
    try:
        yield Parent(grid, cells, home, record)
    finally:
        if record is not None:
            record.close()


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
