"""The GPU script's code on a CPU; its figures are of no interest here."""

import pytest
import torch

from benchmarks.gpu import server, training


def test_the_dry_run_trains_by_each_way_and_compares_them():
    found = training("digits", "cpu", dry=True)
    assert set(found["times sequential"]) == {"sequential", "vmapped"}
    assert found["relative difference"]["sequential"] == 0
    assert 0 < found["relative difference"]["vmapped"] < 1e-2


def test_the_server_side_is_timed():
    assert server("cpu", dry=True)["milliseconds"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu_nothing_is_measured(monkeypatch):
    from benchmarks import gpu

    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="not measured"):
        gpu.main()
