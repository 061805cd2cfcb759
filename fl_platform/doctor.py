"""Is this machine fit: what is installed, which device, does the store open."""

from __future__ import annotations

import importlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from rich.text import Text

from fl_platform.config import Config
from fl_platform.core.precision import tensor_float32
from fl_platform.core.terminal import Terminal
from fl_platform.federated.client_training import (
    WAYS,
    Clients,
    WayName,
    build_way,
    choose,
    fast_products,
)
from fl_platform.run import provenance
from fl_platform.run.build import (
    build_model,
    choose_local,
    load_population,
    local_training,
    resolve_device,
)

TOOLS = ("mlflow", "optuna", "hydra-core", "scipy", "matplotlib", "psutil", "nvidia-ml-py")


def examine(home: Path) -> int:
    """Print one line a check; 0 where everything needed is there, else 1."""
    console = Terminal()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("versions", lambda: ", ".join(f"{k} {v}" for k, v in provenance.versions().items())),
        ("tools", _tools),
        ("torchvision", _torchvision),
        ("device", _device),
        ("products", _products),
        ("compiler", lambda: shutil.which("g++") or "none: coordinate-wise rules run eagerly"),
        ("home", lambda: str(home)),
        ("store", lambda: _store(home)),
    ]
    failed = 0
    for name, check in checks:
        try:
            told = Text.assemble(("ok ", "green"), f"  {name:12} {check()}")
        except Exception as error:
            failed = 1
            told = Text.assemble(("bad", "red"), f"  {name:12} {error}")
        console.print(told, soft_wrap=True)
    return failed


def show_probe(config: Config, home: Path) -> None:
    """Print how fast each way trains this task's clients here, and the override to type."""

    found = probe(config, home)
    console = Terminal()
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


def _products() -> str:
    """The rate of matrix products on one thread, and whether MKL leaves instructions unused."""
    size, seconds = 512, []
    left, right = torch.ones(size, size), torch.ones(size, size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(10):
            start = time.perf_counter()
            left @ right
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    told = f"{2 * size**3 / min(seconds) / 1e9:.0f} GFLOP/s on one thread"
    if fast_products():
        return told
    return f'{told}; MKL uses no AVX-512 here: docs/performance.md, "Products on AMD processors"'


def _store(home: Path) -> str:
    from fl_platform.tracking.mlflow.store import connect, refuse_moved, safe_uri, tracking_uri

    uri = tracking_uri(home)
    for experiment in connect(home).search_experiments():
        refuse_moved(uri, experiment.name, experiment.artifact_location)
    return safe_uri(uri)


REPEATS = 5
GAIN = 1.05  # a way must be so many times faster than the rule's to be suggested


@dataclass(frozen=True)
class Probe:
    """What was found.

    Attributes:
        chosen: the way that the rule takes.
        seconds: of each way that can train this model here, for one round of the clients tried.
        refused: why the others cannot.
    """

    chosen: WayName
    seconds: dict[WayName, float]
    refused: dict[WayName, str]

    @property
    def override(self) -> str:
        """What to type for a faster way than the rule's; empty where the rule's is as good."""
        best = min(self.seconds, key=lambda way: self.seconds[way])
        if self.seconds[best] * GAIN > self.seconds[self.chosen]:
            return ""
        return f"runtime.local={best}"


def probe(config: Config, home: Path, clients: int = 50, samples: int = 256) -> Probe:
    """Train the task's model by every way in turns, on at most ``samples`` images in all.

    Args:
        config: the run whose model, data and settings are tried.
        home: where relative data roots lie.
        clients: at most so many of them.
        samples: at most so many in all; at least one client trains, on all it has.
    """
    torch.set_num_threads(config.runtime.threads)
    device = resolve_device(config.runtime)
    population = load_population(config, home)
    dataset, task = population.dataset, config.task.local
    chosen = choose_local(config, device, dataset).way
    model = build_model(config, dataset).to(device)
    federation = population.federation.to(device)
    tried, count = [0], len(federation.clients[0])
    for client in range(1, min(clients, len(federation))):
        count += len(federation.clients[client])
        if count > samples:
            break
        tried.append(client)
    given = Clients(federation, local_training(task), config.seed)
    start = (torch.cat([p.detach().reshape(-1) for p in model.parameters()]), [*model.buffers()])
    rows = torch.empty(len(tried), len(start[0]), device=device)
    ways, refused = {}, {}
    for name in WAYS:
        try:
            augments = given.settings.augments
            choose(name, device, model, dataset.image_shape, task.batch, augments=augments)
            ways[name] = build_way(name, model, given)
        except ValueError as error:
            refused[name] = str(error)
    times: dict[WayName, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):
        for name, way in ways.items():
            clock = _clock(device)
            next(clock)
            with _as_in_a_run(config.runtime.precision, device):
                way.train(tried, 0, start, rows)
            if repeat:  # the first is warm-up
                times[name].append(next(clock))
            else:
                next(clock)
    return Probe(chosen, {name: statistics.median(t) for name, t in times.items()}, refused)


@contextmanager
def _as_in_a_run(precision: str, device: torch.device) -> Iterator[None]:
    """The arithmetic of clients at this ``runtime.precision``; 64-true is timed as 32-true."""
    mixed = precision == "bf16-mixed"
    with (
        tensor_float32(precision == "tf32"),
        torch.autocast(device.type, torch.bfloat16, enabled=mixed, cache_enabled=False),
    ):
        yield


def _clock(device: torch.device) -> Iterator[float]:
    """Seconds since the last question: of the processor on a CPU, where others may run too."""
    last = 0.0
    while True:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.process_time() if device.type == "cpu" else time.perf_counter()
        yield now - last
        last = now
