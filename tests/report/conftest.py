"""Scripts of the results pages, over copies of the pages and their data."""

import importlib.util
import shutil
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def page_script(tmp_path):
    """Name of a script below docs/results/data -> its module over a copy of page and data."""

    def load(name):
        ignored = shutil.ignore_patterns("figures")
        shutil.copytree(RESULTS, tmp_path / "results", ignore=ignored)
        path = tmp_path / "results" / "data" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
