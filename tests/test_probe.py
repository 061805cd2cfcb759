"""What the probe suggests, and that it tries the ways on the real task."""

from pathlib import Path

import pytest

from fl_platform.config import compose
from fl_platform.doctor import Probe, probe

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
