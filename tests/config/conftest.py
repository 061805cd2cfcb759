"""A home of its own for tests that add files to ``conf/``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder with a copy of the shipped ``conf/``."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path
