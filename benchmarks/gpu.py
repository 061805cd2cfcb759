"""Everything that needs a GPU, in one command of under nine minutes, without network or MLflow.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --dry           # the same code on a CPU, tiny: no figure of a GPU

Parts are left out, and named as such, once the time is up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.interleaved import interleaved, machine, ratios, write
from benchmarks.local import SETTINGS, federation
from benchmarks.round import synthetic
from fl_platform.attacks import strike
from fl_platform.core import Updates, generator
from fl_platform.defenses import Chain, multi_krum
from fl_platform.federated.local import Clients, LocalTraining, WayName, build_way

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 500.0  # seconds after which no further part begins


def training(name: str, device: str, dry: bool) -> dict[str, Any]:
    """Images a second of each way against sequential eager steps, and how far updates differ."""
    setting = SETTINGS[name]
    clients = 10 if name != "digits" else 50
    setting = replace(setting, clients=2 if dry else clients, images=40 if dry else 1000)
    ways: list[WayName] = ["sequential", "vmapped"] + ([] if device == "cpu" else ["graphed"])
    torch.manual_seed(0)
    model = setting.model(setting.classes, setting.shape).to(device)
    samples = federation(setting).to(torch.device(device))
    local = Clients(samples, LocalTraining(1, setting.batch, 0.01, 0.9, 1e-4, 2.0))
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    rows = {way: torch.empty(setting.clients, len(start), device=device) for way in ways}

    def trained(way: WayName) -> Callable[[], object]:
        trainer = build_way(way, model, local)
        return lambda: trainer.train(range(setting.clients), 0, (start, []), rows[way])

    seconds = interleaved({way: trained(way) for way in ways}, 1 if dry else 3, device)
    images = setting.clients * setting.images
    size = rows["sequential"].norm()
    return {
        "images per second": {k: round(images / statistics.median(v)) for k, v in seconds.items()},
        "times sequential": {k: round(v, 2) for k, v in ratios(seconds, "sequential").items()},
        "relative difference": {
            way: float((row - rows["sequential"]).norm() / size) for way, row in rows.items()
        },
    }


def server(device: str, dry: bool) -> dict[str, Any]:
    """STRIKE and Multi-Krum on 50 updates of the AlexNet's size; milliseconds of the whole."""
    dimension = 10_000 if dry else 2_472_266
    honest = torch.randn(40, dimension, generator=generator(0, "benchmark")).to(device)
    chain = Chain(multi_krum)

    def once() -> object:
        updates = Updates(honest)
        return chain(updates.extended(strike(updates, 10)), 10).vector

    seconds = interleaved({"server": once}, 2 if dry else 20, device)["server"]
    return {"dimension": dimension, "milliseconds": round(1000 * statistics.median(seconds), 2)}


def runs(device: str, dry: bool, beside: int) -> dict[str, Any]:
    """Whole runs of the paper's CIFAR-10 setting on synthetic images, ``beside`` at a time."""
    rounds = 2 if dry else 10
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "conf").symlink_to(REPOSITORY / "conf")
        said = [
            "attack=strike",
            "defense=multi_krum",
            f"rounds={rounds}",
            f"runtime.device={device}",
        ]
        said += ["runtime.tracking=journal", "runtime.progress=none"]
        if dry:
            said += ["task=digits"]
        else:
            said += synthetic(home, 1000)
        command = [sys.executable, "-m", "fl_platform.cli", "run", f"--home={home}", *said]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        began = time.perf_counter()
        processes = [
            subprocess.Popen([*command, f"seed={i}"], env=environment, stdout=subprocess.DEVNULL)
            for i in range(beside)
        ]
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - began
    return {
        "exit codes": codes,
        "rounds": rounds,
        "seconds, start included": round(seconds, 1),
        "rounds an hour, all runs, start included": round(3600 * rounds * beside / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--json")
    asked = parser.parse_args()
    if not asked.dry and not torch.cuda.is_available():
        sys.exit("Expected a CUDA device, got none: not measured. --dry tries the code on a CPU.")
    began, device = time.perf_counter(), "cpu" if asked.dry else "cuda"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        f"local training, {name}": lambda name=name: training(name, device, asked.dry)  # type: ignore
        for name in ("digits", "femnist", "alexnet")
    }
    parts["server side"] = lambda: server(device, asked.dry)
    for beside in (1, 2) if asked.dry else (1, 4):
        parts[f"runs, {beside} at a time"] = lambda k=beside: runs(device, asked.dry, k)  # type: ignore
    report: dict[str, Any] = {"machine": machine(device), "dry": asked.dry}
    for name, part in parts.items():
        if time.perf_counter() - began > LIMIT:
            report[name] = "left out: the time is up"
            continue
        try:
            report[name] = part()
        except RuntimeError as error:  # such as out of memory: the other parts still count
            report[name] = f"failed: {error}"
    write(report, asked.json)


if __name__ == "__main__":
    main()
