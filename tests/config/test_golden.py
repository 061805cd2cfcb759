"""Names of runs stay: every configuration of the golden file keeps its hash."""

import json
from pathlib import Path

import pytest

from fl_platform.config import compose, config_hash

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/config_hashes.json").read_text(encoding="utf-8"))


def test_the_golden_file_is_large_and_knows_every_choice():
    typed = " ".join(GOLDEN)
    assert len(GOLDEN) >= 60
    assert len(set(GOLDEN.values())) > 60
    for group in ("attack", "defense", "mixing", "task", "preset"):
        assert f"{group}=" in typed


@pytest.mark.parametrize("overrides", GOLDEN, ids=lambda text: text or "defaults")
def test_a_configuration_keeps_its_hash(overrides):
    assert config_hash(compose(overrides.split(), ROOT)) == GOLDEN[overrides]
