"""Measured peak throughput of a GPU, and its utilisation during a block."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.apart import die_with_parent
from fl_platform.core.precision import tensor_float32

PRECISIONS = ("float32", "TF32", "bf16")
RUNTIME = {"float32": "32-true", "TF32": "tf32", "bf16": "bf16-mixed"}


@contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """Precision of training: float32, products in TF32, or autocast to bfloat16."""
    # No cache: weights move in place between steps, and a cache would keep the first step's.
    cast = torch.autocast(device, torch.bfloat16, enabled=name == "bf16", cache_enabled=False)
    with tensor_float32(name == "TF32"), cast:
        yield


def timed(call: Callable[[], object], device: str, budget: float, most: int = 20) -> list[float]:
    """Wall seconds per call after one warm-up call, repeated within ``budget`` seconds."""
    _once(call, device)
    seconds = [_once(call, device)]
    while sum(seconds) < budget and len(seconds) < most:
        seconds.append(_once(call, device))
    return seconds


def in_turns(
    calls: dict[str, Callable[[], object]], device: str, budget: float, most: int = 20
) -> dict[str, list[float]]:
    """As `timed`, for several calls in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _once(call, device)
    for repeat in range(most):
        if repeat and sum(map(sum, seconds.values())) >= budget:
            break
        for name, call in calls.items():
            seconds[name].append(_once(call, device))
    return seconds


def _once(call: Callable[[], object], device: str) -> float:
    wait(device)
    before = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - before


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ceilings(device: str, dry: bool) -> Iterator[dict[str, Any]]:
    """Peak GB/s of a copy (bytes read and written) and TFLOP/s of a square matrix product."""
    count, side = (2**16, 64) if dry else (2**28, 8192)
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    seconds = statistics.median(timed(lambda: target.copy_(source), device, 0.5))
    yield {"what": "copy", "GB/s": round(2 * 4 * count / seconds / 1e9, 1)}
    left, right = (torch.randn(side, side, device=device) for _ in "lr")
    for name in PRECISIONS:
        with precision(name, device):
            seconds = statistics.median(timed(lambda: left @ right, device, 0.5))
        yield {"what": f"product, {name}", "TFLOP/s": round(2 * side**3 / seconds / 1e12, 2)}


class Watch:
    """NVML figures during a block: mean utilisation and power, peak memory.

    A process samples them, since the block could not fork beside a thread. NVML's utilisation is
    the share of time in which any kernel ran, not the share of the card in use.
    """

    INTERVAL = 0.1

    def __enter__(self) -> Watch:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_sample, args=(theirs, self._pipe), daemon=True)
        self._process.start()
        theirs.close()
        self.seen: dict[str, float] = {}
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._pipe.send("enough")
            if self._pipe.poll(5.0):
                self.seen = self._pipe.recv()
        self._process.kill()
        self._process.join(5.0)


def _sample(pipe: Connection, parents: Connection) -> None:
    parents.close()
    die_with_parent()
    with contextlib.suppress(Exception):
        pipe.send(_watched(pipe))


def _watched(pipe: Connection) -> dict[str, float]:
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:
        pipe.recv()
        return {}
    busy, watts, memory = [], [], [0.0]
    while not pipe.poll(Watch.INTERVAL):
        with contextlib.suppress(pynvml.NVMLError):
            memory.append(pynvml.nvmlDeviceGetMemoryInfo(card).used / 1e9)
            busy.append(pynvml.nvmlDeviceGetUtilizationRates(card).gpu)
            watts.append(pynvml.nvmlDeviceGetPowerUsage(card) / 1000)
    return {
        "NVML busy %": round(statistics.fmean(busy or [0]), 1),
        "NVML most GB": round(max(memory), 2),
        "NVML watts": round(statistics.fmean(watts or [0]), 1),
    }
