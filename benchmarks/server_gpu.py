"""Parts of the server side of a round on a GPU: milliseconds, reads of the matrix, waits.

    python benchmarks/server_gpu.py                       # n = 50, d = 2,472,266
    python benchmarks/server_gpu.py --json server.json
    python benchmarks/server_gpu.py --torch               # without own kernels

Each part runs on a new `Updates`. The figures are medians of the time between two events on the
GPU's stream and of the host time to launch the work. *waits*: whether the host waited for the GPU.
The sum of the parts exceeds a round, in which parts share the Gram, the median and the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks.server_side import PAPER_DIMENSION, F, N, round_of_the_server, update_rows
from fl_platform.attacks import lie, min_max, strike
from fl_platform.core import Updates
from fl_platform.core.deferred import deferring
from fl_platform.defenses import Chain, aksel, dnc, median, multi_krum, nnm, rfa, trimmed_mean
from fl_platform.defenses.gate import accepted
from fl_platform.metrics.deviation import deviation
from fl_platform.metrics.skew import skew


def parts(rows: Tensor) -> dict[str, Callable[[], object]]:
    """Timed parts by name."""
    known = Updates(rows)
    known.gram()
    mean, honest = known.mean(), rows[: N - F]
    weights = torch.full((N,), 1 / N, device=rows.device)

    def fresh() -> Updates:
        return Updates(rows)

    return {
        "input check": lambda: accepted(fresh()),
        "Gram": lambda: fresh().gram(),
        "median": lambda: fresh().median(),
        "trimmed mean": lambda: trimmed_mean(fresh(), F).vector,
        "mean": lambda: fresh().mean(),
        "standard deviation": lambda: fresh().std(),
        "projection": lambda: known.project(mean),
        "distances to a point": lambda: known.squared_distances_to(mean),
        "weighted sum": lambda: known.combine(weights),
        "STRIKE": lambda: strike(Updates(honest), F),
        "LIE": lambda: lie(Updates(honest), F),
        "MinMax": lambda: min_max(Updates(honest), F),
        "skew statistics": lambda: skew(Updates(honest), F),
        "deviation statistics": lambda: deviation(Updates(honest), mean, honest[:1]),
        "Multi-Krum": lambda: Chain(multi_krum)(fresh(), F),
        "NNM + median": lambda: Chain(median, [nnm])(fresh(), F),
        "RFA": lambda: Chain(rfa)(fresh(), F),
        "DnC": lambda: Chain(dnc(0))(fresh(), F),
        "Aksel": lambda: Chain(aksel)(fresh(), F),
    }


def clock(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median milliseconds on the GPU and of the host, after three warm-up runs."""
    device, host = [], []
    for turn in range(repeats + 3):
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "se")
        begun = time.perf_counter()
        start.record()
        call()
        end.record()
        started = time.perf_counter()
        torch.cuda.synchronize()
        if turn >= 3:
            device.append(start.elapsed_time(end))
            host.append(1e3 * (started - begun))
    return statistics.median(device), statistics.median(host)


def waits(call: Callable[[], object]) -> str:
    """Empty text, or torch's message about the first operation for which the host waits."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as reason:
        return str(reason).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dimension", type=int, default=PAPER_DIMENSION)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--torch", action="store_true", help="without kernels of our own")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.torch:
        os.environ["FL_PLATFORM_NATIVE"] = "0"
    rows = update_rows(arguments.dimension).cuda()

    def deferred(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            with deferring():
                return call()

        return run

    floor, _ = clock(rows.clone, arguments.repeats)  # one read and one write
    lines = []
    print(f"{torch.cuda.get_device_name()}: a read of the matrix {floor / 2:.3f} ms")
    print(f"{'part':24} {'GPU ms':>8} {'reads':>6} {'host ms':>8}  waits")
    todo = {name: deferred(call) for name, call in parts(rows).items()}
    for name, call in todo.items():
        device, host = clock(call, arguments.repeats)
        lines.append({"part": name, "gpu_ms": device, "host_ms": host, "waits": waits(call)})
    honest = rows[: N - F]
    device, host = clock(lambda: round_of_the_server(honest), arguments.repeats)
    lines.append({"part": "the round", "gpu_ms": device, "host_ms": host, "waits": "once"})
    for line in lines:
        reads = float(str(line["gpu_ms"])) / (floor / 2)
        print(
            f"{line['part']:24} {line['gpu_ms']:8.3f} {reads:6.1f} {line['host_ms']:8.3f}"
            f"  {line['waits']}"
        )
    if arguments.json is not None:
        found = {"device": torch.cuda.get_device_name(), "read_ms": floor / 2, "parts": lines}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
