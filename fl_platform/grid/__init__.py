"""Many runs of one table: file, plan, processes or SLURM, report; see `runner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.grid.runner import Options, Outcome, dry, plan_grid, run_grid

__all__ = ["Options", "Outcome", "dry", "plan_grid", "run_grid"]

if not TYPE_CHECKING:
    __getattr__ = lazy(__name__, dict.fromkeys(__all__, "runner"))
