"""C++ kernels built on first use: compiled once per machine, loaded with ctypes, optional.

Without a compiler, or with ``FL_PLATFORM_NATIVE=0``, callers use torch instead. Libraries are in
``FL_PLATFORM_NATIVE_CACHE``, by default in ``fl_platform/native`` under the user's cache folder;
their names contain a hash of everything that determines their bytes. Only a library that this user
built is loaded: folder and file belong to the user, no other user can write to them, and the file
ends with the SHA-256 of the built content. Any other file is built again.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

FLAGS = ("-O3", "-fno-math-errno", "-march=native", "-fPIC", "-shared", "-std=c++17")
# Fused multiply-adds round once where torch rounds twice: off where equal bits are guaranteed.
SAME_BITS, FUSED = "-ffp-contract=off", "-ffp-contract=fast"
_LARGEST = 2**26  # maximum bytes of a library
PATIENCE = 300  # seconds for one build; a busy machine may need one minute
_SEAL = b"fl_platform kernel\0"  # before the digest at the end, which an ELF loader ignores
_HELD: list[int] = []  # kept open: the loader identifies a library by the number in its path


def enabled() -> bool:
    """True if kernels may be built and used; a Gram's last bits depend on it."""
    return os.environ.get("FL_PLATFORM_NATIVE", "1") != "0" and _compiler() is not None


@functools.cache
def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


@functools.cache
def _machine() -> str:
    """The input of ``-march=native``: one library per kind of machine in a shared home."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("flags", "Features", "model", "vendor"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(told))])


def _cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fl_platform"
    return Path(os.environ.get("FL_PLATFORM_NATIVE_CACHE") or default / "native")


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
        folder = _own_folder(_cache())  # RuntimeError if there is no home folder
        target = folder / f"{key[:32]}.so"
        descriptor = _open_own(target)
        if descriptor is None:
            if not build:
                return None
            _compile(source, flags, target)
            descriptor = _open_own(target)
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


def _own_folder(folder: Path) -> Path:
    """The folder, created if necessary.

    Raises:
        OSError: the folder belongs to another user, or others can write to it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _own(folder.lstat()) or folder.is_symlink():
        raise OSError(f"{folder}: expected a folder of this user that others cannot write to")
    return folder


def _own(status: os.stat_result) -> bool:
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.geteuid() and not status.st_mode & others


def _open_own(target: Path) -> int | None:
    """A descriptor of the library at ``target``; None if this user did not build it."""
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and _own(status) and status.st_size < _LARGEST:
        content = os.pread(descriptor, status.st_size, 0)
        built, sealed, digest = content.rpartition(_SEAL)
        if sealed and hashlib.sha256(built).digest() == digest:
            return descriptor
    os.close(descriptor)
    return None


def _compile(source: str, flags: tuple[str, ...], target: Path) -> None:
    """Build beside ``target`` and rename: other processes see a complete library or none."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        text, built = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        text.write_text(source)
        subprocess.run(
            [str(_compiler()), *flags, str(text), "-o", str(built)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        digest = hashlib.sha256(built.read_bytes()).digest()
        with built.open("ab") as stream:
            stream.write(_SEAL + digest)
        built.chmod(0o700)
        built.replace(target)


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
