"""Optuna studies of attack and defense parameters; see `runner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.study.runner import assemble, prepare, show, study_name, tune

__all__ = ["assemble", "prepare", "show", "study_name", "tune"]

lazy(__name__)
