from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fl_platform.tracking.system_metrics import sample


class _NVMLError(Exception):
    pass


def _nvml(gpus: int, *, sliced: bool = False) -> SimpleNamespace:
    def utilisation(_: Any) -> SimpleNamespace:
        if sliced:
            raise _NVMLError
        return SimpleNamespace(gpu=37)

    return SimpleNamespace(
        NVMLError=_NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetMemoryInfo=lambda i: SimpleNamespace(used=2e6 * (i + 1), total=8e6),
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetPowerUsage=lambda i: 1500,
    )


def test_every_visible_gpu_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _nvml(2))
    values = sample()
    assert values["system/gpu_0_utilization_percentage"] == 37
    assert values["system/gpu_1_memory_usage_megabytes"] == 4
    assert values["system/gpu_1_memory_usage_percentage"] == 50
    assert values["system/process_memory_megabytes"] > 1


def test_a_slice_of_a_gpu_still_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _nvml(1, sliced=True))
    values = sample()
    assert "system/gpu_0_memory_usage_megabytes" in values
    assert "system/gpu_0_utilization_percentage" not in values


def test_without_a_driver_the_processor_is_sampled_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("no driver")

    broken = _nvml(1)
    broken.nvmlInit = refuse
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert not [key for key in sample() if "gpu" in key]
