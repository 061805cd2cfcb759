"""Provenance of a number: code, versions, machine, data."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from fl_platform.config import Config
from fl_platform.config.targets import ADAPTERS, borrowed
from fl_platform.core import mkl

PACKAGE = Path(__file__).resolve().parents[1]
# The code that determines the bits of a run. After a change of other code (report, tracking,
# command line) a run can still be resumed, and a reference stays exact.
COMPUTES = (
    "core",
    "attacks",
    "defenses",
    "metrics",
    "models",
    "data",
    "federated",
    "run/build.py",
)
_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = ("avx", "fma", "amx", "sse4", "sve", "asimd")
# Variables by which torch, MKL, oneDNN and OpenBLAS choose vector instructions.
_INSTRUCTIONS = (
    *("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"),
)
DEPENDENCIES = ("torch", "torchvision", "lightning", "numpy", "omegaconf", "scikit-learn")


@functools.cache
def code_fingerprint() -> str:
    """SHA-256 over names and contents of the source files that determine a run's bits."""
    return _fingerprint(PACKAGE, sources())


def sources() -> list[Path]:
    """The files below `COMPUTES`: Python, C++ and CUDA."""
    places = [PACKAGE / place for place in COMPUTES]
    files = [place.rglob("*") if place.is_dir() else [place] for place in places]
    kinds = (".py", ".cpp", ".cu")
    return [path for found in files for path in found if path.suffix in kinds]


def code(config: Config) -> dict[str, str]:
    """The fingerprints of all code that computes a run: the package, and its plugins by name.

    A plugin is included if the configuration names a rule of it, not if it is only admitted.
    """
    task = config.task
    nodes = [config.attack, config.defense, *config.mixing, task.data, task.model]
    nodes += [*config.callbacks.values(), *config.observers.metrics.values()]
    nodes += [task.partition] if isinstance(task.partition, dict) else []
    own = {"code_fingerprint": code_fingerprint()}
    if any(str(node.get("_target_")).startswith(ADAPTERS + ".") for node in nodes):
        own["plugin.byzfl"] = _adapted("byzfl")
    return own | {f"plugin.{name}": _plugin(source) for name, source in borrowed(nodes).items()}


def _adapted(package: str) -> str:
    """The fingerprint of the adapters, and the version of the package behind them."""
    digest = _fingerprint(PACKAGE, (PACKAGE / "adapters").rglob("*.py"))
    try:
        return f"{metadata.version(package)} {digest}"
    except metadata.PackageNotFoundError:
        return f"absent {digest}"


def _plugin(source: Path) -> str:
    package = source.name == "__init__.py"
    return _fingerprint(source.parent, source.parent.rglob("*.py") if package else [source])


def _fingerprint(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def git_state() -> tuple[str, bool]:
    """(commit, dirty) of the checkout with the package; ("", False) without a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", "__init__.py") == "":
            return "", False
        return git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ":/") != ""
    except (OSError, subprocess.CalledProcessError):
        return "", False


def code_tags() -> dict[str, str]:
    """Tags of a parent run: the commit, uncommitted changes, the code fingerprint."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": str(dirty).lower(),
        "code_fingerprint": code_fingerprint(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute the numbers."""
    found = {"python": platform.python_version()}
    for name in DEPENDENCIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def instructions() -> dict[str, str]:
    """The processor, and what else decides which of its instructions libraries use."""
    limits = {name: os.environ[name] for name in _INSTRUCTIONS if os.environ.get(name)}
    answered = {"mkl": "preloaded"} if mkl.preloaded() else {}
    return {"processor": processor(), **limits, **answered}


@functools.cache
def processor() -> str:
    """The processor and its vector instructions, on which the last bits of a sum depend."""
    lines = (
        _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        if _CPUINFO.exists()
        else []
    )
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    said = {key.strip(): value.strip() for key, value in told.items()}
    flags = said.get("flags", said.get("Features", "")).split()
    vectors = sorted(flag for flag in flags if flag.startswith(_VECTORS))
    name = said.get("model name", platform.processor() or platform.machine())
    return " ".join([name, *vectors])
