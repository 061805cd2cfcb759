"""What the probe suggests, and that it tries the ways on the real task."""

import re
from pathlib import Path

import pytest

from fl_platform.config import compose
from fl_platform.doctor import Probe, examine, probe

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("seconds", "override"),
    [
        ({"sequential": 1.0, "vmapped": 0.2}, "runtime.local=vmapped"),
        ({"sequential": 1.0, "vmapped": 0.99}, ""),
        ({"sequential": 1.0, "vmapped": 2.0}, ""),
    ],
)
def test_only_a_clear_gain_is_suggested(seconds, override):
    assert Probe("sequential", seconds, {}).override == override


def test_the_digits_are_tried_by_every_way_that_a_cpu_has():
    config = compose(["task=digits", "runtime.device=cpu"], REPOSITORY)
    found = probe(config, REPOSITORY, clients=3)
    assert set(found.seconds) == {"sequential", "channels_last", "vmapped", "stacked"}
    assert found.chosen == "vmapped"
    assert "CUDA" in found.refused["graphed"]


@pytest.mark.parametrize("fast", [True, False])
def test_an_examination_tells_the_rate_of_products_and_what_slows_them(
    fast, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("fl_platform.doctor.fast_products", lambda: fast)
    assert examine(tmp_path) == 0
    (told,) = (line for line in capsys.readouterr().out.splitlines() if "products" in line)
    assert re.match(r"ok +products +\d+ GFLOP/s on one thread", told)
    assert told.endswith('"Products on AMD processors"') is not fast
    page = REPOSITORY / "docs" / "performance.md"
    assert "### Products on AMD processors" in page.read_text(encoding="utf-8")
