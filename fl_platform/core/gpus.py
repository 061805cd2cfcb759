"""The GPUs of this machine, without torch and without initializing CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, AMD and WSL


def gpus() -> list[str]:
    """Available GPUs by ``CUDA_VISIBLE_DEVICES`` or NVML."""
    return known_gpus(os.environ) or []


def known_gpus(environ: Mapping[str, str]) -> list[str] | None:
    """All GPUs that torch can find, or more; ``None`` if only torch can answer.

    Args:
        environ: environment, of which ``CUDA_VISIBLE_DEVICES`` is read.

    Example:
        >>> from fl_platform.core.gpus import known_gpus
        >>> [known_gpus({"CUDA_VISIBLE_DEVICES": named}) for named in ("0,GPU-7", "")]
        [['0', 'GPU-7'], []]
    """
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() and name.strip() != "-1"]
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
        finally:
            pynvml.nvmlShutdown()
    return None if _driver() else []


def _driver() -> bool:
    """False on a machine that has no driver of a GPU; True if in doubt."""
    if sys.platform != "linux" or any(Path(device).exists() for device in _DEVICES):
        return True  # also where its library lies on no path of the linker
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
