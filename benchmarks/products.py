"""Matrix products of common layers beside a convolution, in GFLOP/s of one thread.

    python benchmarks/products.py
    LD_PRELOAD=$PWD/mkl.so python benchmarks/products.py --json products.json

In torch MKL computes the products and oneDNN the convolution, so their rates tell whether MKL uses
all instructions of the processor (docs/performance.md, "Products on AMD processors").
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn import functional as F

from benchmarks.interleaved import interleaved, machine, write
from fl_platform.core import mkl

# Rows, inner size and columns of the product.
PRODUCTS = {
    "784-200, batch 128": (128, 784, 200),
    "784-200, batch 128, gradient of the weights": (200, 128, 784),
    "9216-128, batch 32": (32, 9216, 128),
    "1024 x 1024 x 1024": (1024, 1024, 1024),
}
IMAGES, BELOW, ABOVE, SIDE = 32, 32, 64, 24  # a convolution 3 x 3


def works() -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """The computations by name, and the GFLOP of each."""
    calls: dict[str, Callable[[], object]] = {}
    flop: dict[str, float] = {}
    for name, (rows, inner, columns) in PRODUCTS.items():
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        times = max(1, 2**26 // (rows * inner * columns))
        calls[name] = _repeated(times, torch.mm, left, right)
        flop[name] = times * 2e-9 * rows * inner * columns
    maps = torch.randn(IMAGES, BELOW, SIDE + 2, SIDE + 2).contiguous(
        memory_format=torch.channels_last
    )
    kernel = torch.randn(ABOVE, BELOW, 3, 3).contiguous(memory_format=torch.channels_last)
    calls["convolution"] = _repeated(1, F.conv2d, maps, kernel)
    flop["convolution"] = 2e-9 * IMAGES * SIDE**2 * 9 * BELOW * ABOVE
    return calls, flop


def _repeated(times: int, call: Callable[..., object], *args: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            call(*args)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    calls, flop = works()
    seconds = interleaved(calls, given.repeats)
    rates = {name: round(flop[name] / statistics.median(took)) for name, took in seconds.items()}
    report = {"machine": machine(), "preloaded": mkl.preloaded(), "GFLOP/s": rates}
    write(report, given.json)


if __name__ == "__main__":
    main()
