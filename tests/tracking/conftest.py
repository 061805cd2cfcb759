from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fl_platform.tracking.mlflow import store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an MLflow store without runs: making one takes seconds."""
    home = tmp_path_factory.mktemp("empty")
    store.connect(home)
    return home / "mlruns" / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A workspace with an MLflow store without runs."""
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns" / "mlflow.db")
    return tmp_path
