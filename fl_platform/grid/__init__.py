"""Grids: plan the runs of an experiment, execute them, write the report; see `runner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.grid.plan import plan_grid
    from fl_platform.grid.runner import GridResult, Options, Outcome, dry, run_grid

# ``Outcome`` is the name of ``GridResult`` up to version 0.1.
__all__ = ["GridResult", "Options", "Outcome", "dry", "plan_grid", "run_grid"]

lazy(__name__)
