"""The ground floor: update matrices, geometry, streams. Knows torch and nothing else."""

from fl_platform.core.aggregate import Aggregate
from fl_platform.core.rng import generator
from fl_platform.core.updates import Updates

__all__ = ["Aggregate", "Updates", "generator"]
