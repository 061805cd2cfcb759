"""C++ kernels built on first use: compiled once per machine, loaded with ctypes, optional.

Without a compiler, or with ``FL_PLATFORM_NATIVE=0``, callers use their torch form instead.
Libraries lie in ``FL_PLATFORM_NATIVE_CACHE``, else in ``fl_platform/native`` under the user's
cache folder, named after everything that decides their bytes. `own_files` loads only what this
user built.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from fl_platform.core.native.own_files import keep_own, open_own, own_folder

logger = logging.getLogger(__name__)

FLAGS = ("-O3", "-fno-math-errno", "-march=native", "-fPIC", "-shared", "-std=c++17")
# Fused multiply-adds round once where torch rounds twice: off where equal bits are guaranteed.
SAME_BITS, FUSED = "-ffp-contract=off", "-ffp-contract=fast"
PATIENCE = 300  # seconds for one build; a busy machine may need one minute
_HELD: list[int] = []  # open for good: the loader knows a library by the number in its path


def enabled() -> bool:
    """True if kernels may be built and used: it changes last bits of Grams and gradients."""
    return os.environ.get("FL_PLATFORM_NATIVE", "1") != "0" and _compiler() is not None


@functools.cache
def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


@functools.cache
def _machine() -> str:
    """The input of ``-march=native``: one library per kind of machine in a shared home."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("flags", "Features", "model", "vendor"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(told))])


def source(file: str, **definitions: object) -> str:
    """The text of a ``.cpp`` or ``.cu`` file of this folder, after a ``#define`` for each name."""
    lines = [f"#define {name} {value}\n" for name, value in definitions.items()]
    return "".join(lines) + _read(file)


@functools.cache
def _read(file: str) -> str:
    return (Path(__file__).parent / file).read_text(encoding="utf-8")


def library(source: str, contraction: str, *, build: bool = True) -> ctypes.CDLL | None:
    """The library of a C++ source, built if necessary; ``None`` if that is not possible.

    Args:
        source: one translation unit with ``extern "C"`` functions.
        contraction: ``SAME_BITS`` or ``FUSED``.
        build: compile a source that no earlier call has compiled.
    """
    return _load(source, (*FLAGS, contraction), build) if enabled() else None


@functools.cache
def _load(source: str, flags: tuple[str, ...], build: bool) -> ctypes.CDLL | None:
    key = hashlib.sha256("\0".join([source, *flags, _version(), _machine()]).encode()).hexdigest()
    try:
        target = own_folder() / f"{key[:32]}.so"
        descriptor = open_own(target)
        if descriptor is None:
            if not build:
                return None
            _compile(source, flags, target)
            descriptor = open_own(target)
        if descriptor is None:
            raise OSError(f"{target} changed while it was built")
        _HELD.append(descriptor)
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")  # the same file that was checked
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.info("No compiled kernel, torch is used instead: %s", reason)
        return None


@functools.cache
def _version() -> str:
    command = [str(_compiler()), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _compile(source: str, flags: tuple[str, ...], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        text, built = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        text.write_text(source, encoding="utf-8")
        subprocess.run(
            [str(_compiler()), *flags, str(text), "-o", str(built)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        keep_own(target, built.read_bytes())


def pointers(rows: list[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of CPU rows with contiguous entries; rows may share memory."""
    return (ctypes.c_void_p * len(rows))(*(row.data_ptr() for row in rows))


def usable(rows: list[Tensor]) -> bool:
    """True if a kernel can read these rows: plain memory on the CPU, contiguous entries.

    torch negates lazily (``x.conj().imag``): the memory of such a tensor does not hold its values.
    """
    return all(
        row.device.type == "cpu"
        and row.layout == torch.strided
        and not row.is_neg()
        and row.dtype in (torch.float32, torch.float64)
        and (row.numel() < 2 or row.stride(0) == 1)
        for row in rows
    )
