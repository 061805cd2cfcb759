"""Interleaved timing of several implementations, so that machine load affects all equally."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def interleaved(
    ways: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds per implementation and repeat, after one warm-up repeat.

    Processor seconds on a CPU, which other processes may share; wall seconds on a GPU.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            before = clock(device)
            way()
            if repeat:
                seconds[name].append(clock(device) - before)
    return seconds


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def ratios(seconds: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Speed-up of each implementation over the reference: median of the ratios over repeats."""
    return {
        name: statistics.median(r / t for r, t in zip(seconds[reference], times, strict=True))
        for name, times in seconds.items()
    }


def machine(device: str = "cpu") -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": _processor(),
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "cuda": torch.version.cuda or "none",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write(report: Mapping[str, Any], path: str | None) -> None:
    text = json.dumps(report, indent=1)
    print(text)
    if path:
        Path(path).write_text(text + "\n")
