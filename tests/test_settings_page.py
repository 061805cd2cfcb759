"""Every line of docs/settings.md can be run as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from fl_platform.config import compose, config_hash

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "settings.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)
    for line in block.splitlines()
    if line.startswith("fl-platform run")
]


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_a_configuration_of_its_own(line):
    overrides = shlex.split(line)[2:]
    plain = [text for text in overrides if text.startswith("task=")]
    assert config_hash(compose(overrides, ROOT)) != config_hash(compose(plain, ROOT))


def test_the_page_has_lines():
    assert len(LINES) > 10
