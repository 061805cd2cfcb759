"""Golden vectors of every rule, and a comparison with other libraries' implementations."""

from fl_platform.adapters.conformance.golden import VECTORS, read_vectors
from fl_platform.adapters.conformance.runner import conformance

__all__ = ["VECTORS", "conformance", "read_vectors"]
