"""Peak memory of a run beyond its data, its model's activations and the libraries.

    python benchmarks/memory.py

Runs rounds of STRIKE against Multi-Krum with a linear model of many parameters on few samples, so
that nothing but the update matrix is large, and states the growth of the process in vectors of d
float32 numbers. The bound is (1.25 n + 8) d for clients trained one after the other.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")  # freed vectors go back at once
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning.pytorch import Trainer
from torch import nn

from benchmarks.interleaved import machine, write
from fl_platform.attacks import strike
from fl_platform.defenses import multi_krum
from fl_platform.federated import (
    Aggregator,
    FederatedModule,
    Federation,
    LocalTraining,
    Samples,
    adversary,
)
from fl_platform.federated.observers import Diagnosis


def fit(inputs: int, clients: int) -> None:
    """Two rounds of ``clients`` clients with two samples each; d is 10 × (inputs + 1)."""
    samples = Samples(torch.rand(2 * clients, inputs), torch.arange(2 * clients) % 10)
    federation = Federation(samples, torch.arange(2 * clients).split(2), 10)
    local = LocalTraining(1, 2, 0.1, 0.9, 1e-4, 2.0)
    module = FederatedModule(nn.Linear(inputs, 10), federation, local, byzantine=0.2)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    Trainer(
        max_epochs=2,
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
    parser.add_argument("--dimension", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    fit(10, asked.clients)  # loads and compiles whatever is used
    before = peak()
    inputs = asked.dimension // 10
    fit(inputs, asked.clients)
    d = 10 * (inputs + 1)
    # the model itself is one vector; the samples are 2 n rows of d / 10 numbers
    vectors = (peak() - before) / (4 * d) - 1 - 2 * asked.clients / 10
    report = {
        "machine": machine(),
        "d": d,
        "vectors of d beyond data and model": round(vectors, 1),
        "bound": 1.25 * asked.clients + 8,
    }
    write(report, asked.json)


if __name__ == "__main__":
    main()
