"""Lightning callbacks around the mathematics: roles, metrics, progress, checkpoints.

The public names are the callbacks that a configuration may add to a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.federated.callbacks.monitors import BestCheckpoint, EarlyStop

__all__ = ["BestCheckpoint", "EarlyStop"]

lazy(__name__)
