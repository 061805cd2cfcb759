"""Whether MKL, which computes torch's products on a CPU, uses all instructions of the processor."""

from __future__ import annotations

import ctypes
import functools

# The function by which MKL asks whether the processor is one of Intel's.
ASKED = "mkl_serv_intel_cpu_true"


@functools.cache
def preloaded() -> bool:
    """Whether a preloaded library answers MKL's question for the vendor of the processor.

    On processors of other vendors MKL multiplies without AVX-512. A library that answers in its
    place (docs/performance.md) makes products there about twice as fast, with other last bits.
    """
    try:
        return hasattr(ctypes.CDLL(None), ASKED)
    except (OSError, TypeError):  # no loader that has such a scope
        return False
