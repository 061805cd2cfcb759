"""The ground floor: update matrices, geometry, streams. Knows torch and nothing else.

Names are imported when they are first asked for: the configuration layer needs only the marks of
``core.parameters``, and a refused configuration should not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fl_platform.core.aggregate import Aggregate
    from fl_platform.core.rng import generator
    from fl_platform.core.updates import Updates

__all__ = ["Aggregate", "Updates", "generator"]

_HOMES = {"Aggregate": "aggregate", "Updates": "updates", "generator": "rng"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
