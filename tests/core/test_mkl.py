"""The library that answers MKL's question for the vendor, built by the recipe of the docs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
ASK = """
from fl_platform.core import mkl
from fl_platform.federated.client_training import fast_products
from fl_platform.run import provenance
print(mkl.preloaded(), fast_products(), provenance.instructions().get("mkl"))
"""


def recipe():
    """The commands of the docs: one that builds the library, one that preloads it."""
    _, text = PAGE.read_text(encoding="utf-8").split("### Products on AMD processors", 1)
    return re.search(r"```bash\n(.*?)```", text, re.DOTALL)[1]


def asked(script, folder):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        ["bash", "-ec", f'{script}\n"$PYTHON" -c "$ASK"'],
        cwd=folder,
        env={**environment, "PYTHON": sys.executable, "ASK": ASK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs a C compiler"
)
def test_a_run_records_that_the_library_of_the_recipe_is_preloaded(tmp_path):
    assert asked(recipe(), tmp_path) == ["True", "True", "preloaded"]


def test_without_it_nothing_is_recorded(tmp_path):
    preloaded, _, recorded = asked("", tmp_path)
    assert (preloaded, recorded) == ("False", "None")
