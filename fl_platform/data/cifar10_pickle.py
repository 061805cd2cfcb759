"""Reader of the pickled batch files of CIFAR-10 that runs no code of the files.

A pickle is a program: it names functions and calls them. The batch files need three functions,
all of them NumPy's for building an array. Here each of these names is replaced by a stand-in that
only stores bytes, and every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np


def read_batch(content: bytes) -> dict[str, Any]:
    """Dictionary of a batch file: arrays of uint8, everything else plain Python.

    Args:
        content: Bytes of the file; the caller has checked their digest.

    Raises:
        pickle.UnpicklingError: The file names a function that a batch of images does not need.
        Exception: Python's unpickler raises many kinds of errors for damaged files.
    """
    batch = _BatchUnpickler(io.BytesIO(content), encoding="latin1").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError(f"Expected a dictionary, got {type(batch).__name__}.")
    return {
        key: value.array() if callable(getattr(value, "array", None)) else value
        for key, value in batch.items()
    }


# The unpickler in Python: in the one in C a few bytes can allocate gigabytes of memory (an index
# in LONG_BINPUT sizes its memo). A batch has only about 20,000 steps.
class _BatchUnpickler(pickle._Unpickler):
    def __init__(self, file: io.BytesIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(
                f"Expected only NumPy arrays and plain values, got a call of {module}.{name}."
            )
        return known


def _stand_ins() -> dict[tuple[str, str], Any]:
    """New stand-ins for every file, so that no file affects the next one."""

    class Kind:
        def __init__(self, code: str, align: Any = None, copy: Any = None) -> None:
            if code != "u1":
                raise pickle.UnpicklingError(f"Expected arrays of uint8 ('u1'), got {code!r}.")

        def __setstate__(self, state: Any) -> None:
            pass  # byte order and alignment have no effect on single bytes

    class Array:
        def __setstate__(self, state: Any) -> None:
            _, self.shape, self.kind, self.fortran, self.content = state

        def array(self) -> np.ndarray:
            data = self.content
            data = data.encode("latin1") if isinstance(data, str) else data
            if not isinstance(self.kind, Kind):
                raise pickle.UnpicklingError("Expected an array of uint8.")
            order: Any = "F" if self.fortran else "C"
            return np.frombuffer(data, dtype=np.uint8).reshape(self.shape, order=order)

    def reconstruct(subtype: Any, shape: Any, kind: Any) -> Array:
        return Array()

    def encode(text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"Expected bytes as latin1, got {encoding!r}.")
        return text.encode("latin1")

    return {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Kind,
        ("_codecs", "encode"): encode,  # Python 3 writes bytes in this way in old protocols
    }
