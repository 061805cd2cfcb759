"""The GPU script's code on a CPU; its figures are of no interest here."""

import os
import time

import pytest
import torch

from benchmarks import gpu
from benchmarks.apart import apart
from benchmarks.local import SETTINGS


def test_the_dry_run_goes_through_every_part():
    report = gpu.measure("cpu", dry=True)
    assert [name for name, part in report.items() if isinstance(part, str)] == []
    trained = {name: part for name, part in report.items() if name.startswith("local")}
    assert len(trained) == 6
    for part in trained.values():
        others = part["relative difference from sequential on the CPU"]
        assert others.pop("sequential") == 0
        assert all(difference < 1e-4 for difference in others.values())
    assert report["server side"]["milliseconds"] > 0
    assert report["one run, float32"]["status"] == report["bfloat16"]["status"] == "FINISHED"
    assert len(report["2 runs at a time"]["seconds a round"]) == 2
    assert report["deterministic mode"]["same weights"]


def test_the_comparison_with_the_cpu_notices_another_way_to_train(monkeypatch):
    setting = SETTINGS["digits"]
    assert gpu.equality(setting, "vmapped", "cpu", dry=True) < 1e-4
    made = gpu.build_way

    def longer(name, model, clients):
        if name == "vmapped":
            clients.settings.__dict__["epochs"] = 3
        return made(name, model, clients)

    monkeypatch.setattr(gpu, "build_way", longer)
    assert gpu.equality(setting, "vmapped", "cpu", dry=True) > 1e-2


def test_the_whole_run_takes_the_way_that_was_fastest():
    def found(**rates):
        return {"images per second": {f"{way}, float32": rate for way, rate in rates.items()}}

    report = {
        "local training, digits, vmapped": found(vmapped=900),
        "local training, alexnet, vmapped": found(sequential=5, vmapped=8),
        "local training, alexnet, graphed": "failed: cudaErrorIllegalAddress",
    }
    assert gpu.fastest(report, "float32") == "vmapped"
    assert gpu.fastest({}, "float32") == "auto"


def test_a_part_that_fails_dies_or_lasts_says_so_and_the_next_goes_on():
    def raises():
        raise RuntimeError("out of memory")

    assert apart(raises, 60) == "failed: RuntimeError: out of memory"
    assert apart(lambda: os._exit(7), 60) == "failed: ended with exit code 7"
    assert apart(lambda: time.sleep(60), 0.05) == "failed: ended with exit code -15"
    assert apart(lambda: {"found": 1}, 60) == {"found": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu_nothing_is_measured(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="not measured"):
        gpu.main()
