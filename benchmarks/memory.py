"""Peak memory of a run without data, activations and libraries.

    python benchmarks/memory.py                                   # a linear model, 50 clients
    python benchmarks/memory.py --network femnist --clients 1000  # FEMNIST's, 3.4 GB of updates

Runs rounds of STRIKE against Multi-Krum and reports the growth of the process in vectors of d
float32 numbers. With many parameters and few samples, only the updates are large. The bound for
clients trained one after the other is (1.25 n + 8) d.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")  # freed vectors go back at once
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import torch
from lightning.pytorch import Trainer
from torch import nn

from benchmarks.interleaved import machine, write
from fl_platform.attacks import strike
from fl_platform.core import generator
from fl_platform.defenses import multi_krum
from fl_platform.federated import (
    Aggregator,
    FederatedModule,
    Federation,
    LocalTraining,
    Samples,
    adversary,
)
from fl_platform.federated.callbacks.metrics import Diagnosis
from fl_platform.federated.client_training import WayName
from fl_platform.models import femnist_cnn, num_parameters

SAMPLES = 2  # of each client


@dataclass(frozen=True)
class Network:
    """Model, input shape, classes and client training."""

    model: nn.Module
    shape: tuple[int, ...]
    classes: int
    way: WayName = "sequential"


def linear(dimension: int) -> Network:
    inputs = dimension // 10
    return Network(nn.Linear(inputs, 10), (inputs,), 10)


def femnist(side: int = 28, classes: int = 62) -> Network:
    shape = (1, side, side)
    return Network(femnist_cnn(classes, shape), shape, classes, "channels_last")


def fit(network: Network, clients: int, sampled: int, rounds: int) -> None:
    """Run rounds with ``sampled`` of ``clients`` clients, two samples per client."""
    count = SAMPLES * clients
    inputs = torch.rand(count, *network.shape, generator=generator(0, "memory"))
    samples = Samples(inputs, torch.arange(count) % network.classes)
    federation = Federation(samples, torch.arange(count).split(SAMPLES), network.classes)
    module = FederatedModule(
        network.model,
        federation,
        LocalTraining(1, SAMPLES, 0.1, 0.9, 1e-4, 2.0),
        byzantine=0.2,
        sampled=sampled,
        way=network.way,
    )
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Aggregator(multi_krum), adversary(strike), Diagnosis()],
    ).fit(module)


def peak() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["linear", "femnist"], default="linear")
    parser.add_argument("--dimension", type=int, default=1_000_000, help="of the linear model")
    parser.add_argument("--clients", type=int, default=50, help="that take part in a round")
    parser.add_argument("--population", type=int, help="of whom they are drawn; else all take part")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    large = asked.network == "femnist"
    population = asked.population or asked.clients
    fit(femnist(8, 10) if large else linear(100), 10, 10, 1)  # loads and compiles what is used
    before = psutil.Process().memory_info().rss
    network = femnist() if large else linear(asked.dimension)
    began = time.perf_counter()
    fit(network, population, asked.clients, asked.rounds)
    seconds = time.perf_counter() - began
    d = num_parameters(network.model)
    inputs = SAMPLES * population * torch.Size(network.shape).numel()
    vectors = (peak() - before - 4 * inputs) / (4 * d) - 1
    report = {
        "machine": machine(),
        "d": d,
        "clients a round": asked.clients,
        "population": population,
        "rounds": asked.rounds,
        "seconds": round(seconds, 1),
        "gigabytes of updates": round(4 * asked.clients * d / 1e9, 2),
        "vectors of d beyond data and model": round(vectors, 1),
        "bound": 1.25 * asked.clients + 8,
    }
    write(report, asked.json)


if __name__ == "__main__":
    main()
