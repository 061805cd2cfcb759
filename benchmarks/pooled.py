"""Steps of clients with and without the kernel for convolutions below a max pooling.

    python benchmarks/pooled.py                 # one step of 25 clients, batches of 32
    python benchmarks/pooled.py --batch 128 --json pooled.json

``kernel`` is ``runtime.local=channels_last``; ``layers`` is the same with FL_PLATFORM_NATIVE=0, so
that torch's convolution and pooling compute the gradient. One process, one thread, in turns,
processor seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from benchmarks.interleaved import interleaved, machine, ratios, write
from fl_platform import models
from fl_platform.federated import Federation, LocalTraining, Samples
from fl_platform.federated.client_training import Clients, build_way

CLIENTS, IMAGE = 25, (1, 28, 28)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "bucketing_cnn": lambda: models.bucketing_cnn(10, IMAGE, masks="fixed"),
    "cnn_mnist": lambda: models.cnn_mnist(10, IMAGE),
    "femnist_cnn": lambda: models.femnist_cnn(62, IMAGE),
}


def measure(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per client of both, and how many times as fast the kernel is."""
    torch.manual_seed(0)
    network, count = NETWORKS[name](), CLIENTS * batch
    samples = Samples(torch.randn(count, *IMAGE), torch.randint(10, (count,)))
    held = Federation(samples, torch.arange(count).split(batch), 62)
    settings = LocalTraining(steps=1, batch=batch, lr=1.0)
    start = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    trainer = build_way("channels_last", network, Clients(held, settings))
    rows = torch.empty(CLIENTS, len(start))

    def train(native: str) -> Callable[[], None]:
        def run() -> None:
            os.environ["FL_PLATFORM_NATIVE"] = native
            trainer.train(range(CLIENTS), 0, (start, []), rows)

        return run

    seconds = interleaved({"layers": train("0"), "kernel": train("1")}, repeats)
    found = {k: round(1e3 * statistics.median(v) / CLIENTS, 2) for k, v in seconds.items()}
    return {"ms per client": found, "times": round(ratios(seconds, "layers")["kernel"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(name, asked.batch, asked.repeats) for name in asked.only}
    write({"machine": machine(), "batch": asked.batch, **found}, asked.json)


if __name__ == "__main__":
    main()
