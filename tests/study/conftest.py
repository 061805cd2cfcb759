from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    (tmp_path / "tuning").symlink_to(REPOSITORY / "tuning")
    return tmp_path
