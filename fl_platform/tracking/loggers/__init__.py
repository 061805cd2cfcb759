"""The loggers that a configuration may add to a run, beside its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.tracking.loggers.event_files import CsvFile, TensorBoard

__all__ = ["CsvFile", "TensorBoard"]

lazy(__name__)
