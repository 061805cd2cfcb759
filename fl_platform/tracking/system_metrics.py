"""Load of the machine: processor, memory and every visible GPU, sampled at an interval."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from fl_platform.tracking.journal import Journal

_MEGABYTE = 1e6


class MachineSampler:
    """A thread that writes ``system/…`` metrics to ``journal`` every ``interval`` seconds.

    The names are those that MLflow's page shows under system metrics; a step is one sample, and
    steps continue after a resumption. Repeated rounds are not compared in them.
    """

    def __init__(self, journal: Journal, *, interval: float = 10.0, first: float = 1.0) -> None:
        self._journal, self._interval, self._first = journal, interval, first
        self._step = journal.history.next_step("system/")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="machine-sampler", daemon=True)

    def start(self) -> MachineSampler:
        """Start; the first sample is early, so that short runs have one."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop after the present sample."""
        self._stop.set()
        self._thread.join(5.0)

    def _work(self) -> None:
        with contextlib.suppress(Exception), contextlib.ExitStack() as stack:
            readers = [_processor(), *_gpus(stack)]
            wait = self._first
            while not self._stop.wait(wait):
                values: dict[str, float] = {}
                for reader in readers:
                    with contextlib.suppress(
                        Exception
                    ):  # an error of a driver has no effect on the run
                        values |= reader()
                self._journal.metrics(self._step, values)
                self._step += 1
                wait = self._interval


def sample() -> dict[str, float]:
    """One sample of everything visible."""
    with contextlib.ExitStack() as stack:
        values: dict[str, float] = {}
        for reader in [_processor(), *_gpus(stack)]:
            values |= reader()
        return values


def _processor() -> Callable[[], dict[str, float]]:
    import psutil

    process = psutil.Process()
    psutil.cpu_percent()  # the first call only starts the measurement
    process.cpu_percent()

    def read() -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/process_cpu_percentage": process.cpu_percent(),
            "system/process_memory_megabytes": process.memory_info().rss / _MEGABYTE,
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
        }

    return read


def _gpus(stack: contextlib.ExitStack) -> list[Callable[[], dict[str, float]]]:
    """A reader per GPU that NVML shows; none without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, driver or permission: nothing to sample
        return []
    stack.callback(pynvml.nvmlShutdown)
    count = range(pynvml.nvmlDeviceGetCount())
    return [_gpu(pynvml, i, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in count]


def _gpu(nvml: Any, index: int, handle: Any) -> Callable[[], dict[str, float]]:
    def read() -> dict[str, float]:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        values = {
            f"system/gpu_{index}_memory_usage_megabytes": memory.used / _MEGABYTE,
            f"system/gpu_{index}_memory_usage_percentage": 100 * memory.used / memory.total,
        }
        with contextlib.suppress(nvml.NVMLError):  # not available for a slice of a GPU
            busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            values[f"system/gpu_{index}_utilization_percentage"] = float(busy)
        with contextlib.suppress(nvml.NVMLError):
            watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
            values[f"system/gpu_{index}_power_usage_watts"] = watts
        return values

    return read
