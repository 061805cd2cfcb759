"""Scripts of the results pages, over copies of the pages and their data."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def page_script(tmp_path, monkeypatch):
    """Name of a script below docs/results/data -> its module over a copy of page and data."""
    ignored = shutil.ignore_patterns("figures", "__pycache__")
    folder = shutil.copytree(RESULTS, tmp_path / "results", ignore=ignored) / "data"
    names = [path.stem for path in folder.glob("*.py")]
    for name in names:  # scripts import each other by these
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
