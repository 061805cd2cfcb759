"""Repeat a suite of runs and compare it with its reference; see `runner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.repro.runner import accept, history, run_suite

__all__ = ["accept", "history", "run_suite"]

lazy(__name__)
