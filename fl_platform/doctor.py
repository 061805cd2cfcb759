"""Is this machine fit: what is installed, which device, does the store open."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from rich.console import Console

from fl_platform.config import Config
from fl_platform.run import provenance

TOOLS = ("mlflow", "optuna", "hydra-core", "scipy", "matplotlib", "psutil", "nvidia-ml-py")


def examine(home: Path) -> int:
    """Print one line a check; 0 where everything needed is there, else 1."""
    console = Console(highlight=False)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("versions", lambda: ", ".join(f"{k} {v}" for k, v in provenance.versions().items())),
        ("tools", _tools),
        ("torchvision", _torchvision),
        ("device", _device),
        ("compiler", lambda: shutil.which("g++") or "none: coordinate-wise rules run eagerly"),
        ("home", lambda: str(home)),
        ("store", lambda: _store(home)),
    ]
    failed = 0
    for name, check in checks:
        try:
            console.print(f"[green]ok[/]   {name:12} {check()}", soft_wrap=True)
        except Exception as error:
            failed = 1
            console.print(f"[red]bad[/]  {name:12} {error}", soft_wrap=True)
    return failed


def show_probe(config: Config, home: Path) -> None:
    """Print how fast each way trains this task's clients here, and the override to type."""
    from fl_platform.probe import probe

    found = probe(config, home)
    console = Console(highlight=False)
    slowest = max(found.seconds.values())
    for way, seconds in sorted(found.seconds.items(), key=lambda pair: pair[1]):
        mark = "  <- auto" if way == found.chosen else ""
        console.print(f"{way:14} {1000 * seconds:10.1f} ms  {slowest / seconds:6.2f}x{mark}")
    for way, reason in found.refused.items():
        console.print(f"{way:14} refused: {reason}")
    console.print(found.override or "runtime.local=auto is as good as any way here")


def _tools() -> str:
    found = []
    for name in TOOLS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def _torchvision() -> str:
    """Import it: a build for another torch fails here, and takes Lightning with it."""
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise RuntimeError(
            f"does not fit torch ({error}); install both from one package index"
        ) from error
    return "fits torch"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu, {torch.get_num_threads()} threads visible; runs use runtime.threads (1)"
    return ", ".join(
        torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
    )


def _store(home: Path) -> str:
    from fl_platform.tracking.mlflow.store import connect, refuse_moved, safe_uri, tracking_uri

    uri = tracking_uri(home)
    for experiment in connect(home).search_experiments():
        refuse_moved(uri, experiment.name, experiment.artifact_location)
    return safe_uri(uri)
