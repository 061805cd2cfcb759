"""One run over two ranks (DDP, gloo) against the same run in one process, in turns.

    python benchmarks/ranks.py --repeats 3

Medians per round, first round left out, one thread per process: wall seconds, and processor
seconds of one rank, whose ratio is the gain that idle processors would allow at most. The gain in
wall seconds is also bounded by that of two bare loops (``benchmarks/beside.py``).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from fl_platform import attacks, defenses
from fl_platform.federated import (
    Adversary,
    Aggregator,
    FederatedModule,
    Federation,
    LocalTraining,
    Samples,
)
from fl_platform.models import lenet

CLIENTS, IMAGES, ROUNDS = 20, 64, 6


class Clock(Callback):
    """Wall and processor seconds at the ends of rounds."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of a round after the first, by both clocks."""
        rounds = list(zip(self.ends, self.ends[1:], strict=False))
        wall, processor = (statistics.median(b[i] - a[i] for a, b in rounds) for i in (0, 1))
        return wall, processor


def seconds_of_a_round(size: int) -> tuple[float, float]:
    """Wall and processor seconds of a round in this rank."""
    torch.manual_seed(0)
    count = CLIENTS * IMAGES
    samples = Samples(torch.randn(count, 1, 28, 28), torch.randint(10, (count,)))
    federation = Federation(samples, torch.arange(count).split(IMAGES), 10)
    module = FederatedModule(
        lenet(10, (1, 28, 28)), federation, LocalTraining(batch=16, lr=0.05), byzantine=0.2
    )
    clock = Clock()
    Trainer(
        max_epochs=ROUNDS,
        accelerator="cpu",
        devices=size,
        strategy=DDPStrategy(process_group_backend="gloo") if size > 1 else "auto",
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Adversary(attacks.strike), Aggregator(defenses.multi_krum), clock],
    ).fit(module)
    return clock.medians


def _follow(rank: int, size: int, port: int, answer: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    seconds = seconds_of_a_round(size)
    if rank == 0:
        answer.put(seconds)


def measured(size: int) -> tuple[float, float]:
    """Wall and processor seconds of a round with ``size`` forked ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    ranks = [context.Process(target=_follow, args=(r, size, port, answer)) for r in range(size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    if any(rank.exitcode for rank in ranks):
        raise RuntimeError(f"Expected {size} ranks to end with 0, got a failure.")
    wall, processor = answer.get()
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    pairs = [(measured(1), measured(2)) for _ in range(repeats)]
    print(f"load {os.getloadavg()[0]:.1f}; {CLIENTS} clients, STRIKE against Multi-Krum, LeNet")
    for clock, name in enumerate(("wall", "processor")):
        one, two = (statistics.median(pair[i][clock] for pair in pairs) for i in (0, 1))
        ratio = statistics.median(a[clock] / b[clock] for a, b in pairs)
        print(f"{name}: {one:.3f} s a round, {two:.3f} s with two ranks, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
