"""The pages on attacks, defenses and metrics have an entry for every name."""

from pathlib import Path

import pytest

import fl_platform.attacks
import fl_platform.defenses
import fl_platform.metrics
from fl_platform.metrics.skew import NAMES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", fl_platform.attacks.__all__)
def test_every_attack_is_documented(name):
    assert f"[`{name}`]" in (DOCS / "rules" / "attacks.md").read_text()


DEFENSES = [name for name in fl_platform.defenses.__all__ if name.islower()]


@pytest.mark.parametrize("name", sorted({*DEFENSES} - {"largest_f", "tolerates"}))
def test_every_defense_and_mixing_is_documented(name):
    text = (DOCS / "rules" / "defenses.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert any(name in line[4:].split(", ") for line in headings)


@pytest.mark.parametrize("name", [*fl_platform.metrics.__all__, *NAMES])
def test_every_metric_is_documented(name):
    assert f"`{name}" in (DOCS / "metrics.md").read_text()
