from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path
