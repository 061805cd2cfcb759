"""One run: config, data, model, roles, trainer, result; see `runner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.run.result import Result
    from fl_platform.run.runner import run

__all__ = ["Result", "run"]

lazy(__name__)
