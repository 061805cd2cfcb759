"""Update matrices, geometry, random streams, text and processes. Depends on torch only.

Names are imported on first use: the configuration uses only `constraints`, so a wrong
configuration is refused without the import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.core.aggregate import Aggregate
    from fl_platform.core.rng import generator
    from fl_platform.core.updates import Updates

__all__ = ["Aggregate", "Updates", "generator"]

lazy(__name__)
