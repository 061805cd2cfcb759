"""CUDA kernels compiled on first use by NVRTC and launched on torch's stream; optional.

NVRTC and the driver are called through ``cuda.bindings``, a part of torch's CUDA builds. If it is
missing, if a source does not compile, or with ``FL_PLATFORM_NATIVE=0``, callers use torch. Machine
code is stored beside the C++ libraries, named in the same way.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import logging
import os
from typing import Any

import torch
from torch import Tensor

from fl_platform.core.native.own_files import keep_own, own_folder, read_own

logger = logging.getLogger(__name__)

# As for C++: fused multiply-adds only where equal bits are not guaranteed.
SAME_BITS, FUSED = "--fmad=false", "--fmad=true"


class Kernel:
    """One kernel of a loaded module."""

    def __init__(self, function: Any, index: int) -> None:
        self._function, self._index = function, index

    def __call__(self, blocks: int, threads: int, *arguments: Tensor | int | None) -> None:
        """Launch on the current stream: tensors and ``None`` as pointers, integers as 64 bits."""
        if torch.cuda.current_device() != self._index:
            with torch.cuda.device(self._index):
                self(blocks, threads, *arguments)
            return
        values = tuple(a.data_ptr() if isinstance(a, Tensor) else a or 0 for a in arguments)
        kinds = tuple(
            ctypes.c_longlong if isinstance(a, int) else ctypes.c_void_p for a in arguments
        )
        stream = torch.cuda.current_stream().cuda_stream
        size = (blocks, 1, 1, threads, 1, 1)
        launch = _bindings("driver").cuLaunchKernel
        (error,) = launch(self._function, *size, 0, stream, (values, kinds), 0)
        if int(error):
            raise RuntimeError(f"Expected a CUDA kernel to start, got {error}.")


@functools.cache
def _bindings(name: str) -> Any:
    """``cuda.bindings.driver`` or ``.nvrtc``, or ``None`` without the package."""
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except Exception as reason:  # without a driver the package raises errors of several types
        logger.info(
            "No cuda.bindings.%s, torch's own operations are used instead: %s", name, reason
        )
        return None


def kernel(source: str, name: str, contraction: str, device: torch.device) -> Kernel | None:
    """The kernel ``name`` of a CUDA source; ``None`` if it is not available.

    Args:
        source: one translation unit with ``extern "C" __global__`` functions and no includes.
        name: name of the function.
        contraction: ``SAME_BITS`` or ``FUSED``.
        device: device of the kernel; ``None`` is returned for anything but a GPU.
    """
    if device.type != "cuda" or os.environ.get("FL_PLATFORM_NATIVE", "1") == "0":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    return _load(source, name, contraction, index)


@functools.cache
def _load(source: str, name: str, contraction: str, index: int) -> Kernel | None:
    driver = _bindings("driver")
    if driver is None or _bindings("nvrtc") is None:
        return None
    try:
        with torch.cuda.device(index):
            major, minor = torch.cuda.get_device_capability(index)
            code = machine_code(source, contraction, f"sm_{major}{minor}")
            error, module = driver.cuModuleLoadData(code)
            if int(error):
                raise RuntimeError(f"cuModuleLoadData: {error}")
            error, function = driver.cuModuleGetFunction(module, name.encode())
            if int(error):
                raise RuntimeError(f"cuModuleGetFunction: {error}")
            return Kernel(function, index)
    except (OSError, RuntimeError) as reason:
        logger.warning("No CUDA kernel %s, torch is used instead: %s", name, reason)
        return None


def machine_code(source: str, contraction: str, architecture: str) -> bytes:
    """The cubin of a source, from the cache or from NVRTC; no card is needed.

    Raises:
        RuntimeError: the source does not compile, with the compiler's messages; or there is no
            home for the cache.
        OSError: the cache cannot be written, or is not this user's alone.
    """
    nvrtc = _bindings("nvrtc")
    _, major, minor = nvrtc.nvrtcVersion()
    text = "\0".join([source, contraction, architecture, f"{major}.{minor}"])
    target = own_folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.cubin"
    code = read_own(target)
    if code is None:
        code = _compile(nvrtc, source, [f"--gpu-architecture={architecture}", contraction])
        keep_own(target, code)
    return code


def _compile(nvrtc: Any, source: str, options: list[str]) -> bytes:
    error, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
    if int(error):
        raise RuntimeError(f"nvrtcCreateProgram: {error}")
    try:
        (error,) = nvrtc.nvrtcCompileProgram(
            program, len(options), [option.encode() for option in options]
        )
        if int(error):
            failed, size = nvrtc.nvrtcGetProgramLogSize(program)
            log = b" " * max(2, 0 if int(failed) else size)  # b" " itself is a shared object
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(log.decode(errors="replace"))
        error, size = nvrtc.nvrtcGetCUBINSize(program)
        if int(error):
            raise RuntimeError(f"nvrtcGetCUBINSize: {error}")
        code = b" " * max(size, 2)
        (error,) = nvrtc.nvrtcGetCUBIN(program, code)
        if int(error):
            raise RuntimeError(f"nvrtcGetCUBIN: {error}")
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)
