"""Packages that import on first use: same names, same objects, nothing more than what is asked."""

import ast
import importlib
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.core.lazy import LazyPackage

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in sorted((ROOT / "fl_platform").rglob("__init__.py"))
    if "lazy(__name__" in path.read_text(encoding="utf-8")
]
RULES = ["fl_platform.attacks", "fl_platform.defenses", "fl_platform.data.partitions"]


def fresh(code):
    """What ``code`` prints as JSON in a new interpreter."""
    command = [sys.executable, "-c", f"import json, sys\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_packages_of_rules_are_lazy():
    assert {*RULES, "fl_platform.models", "fl_platform.data"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_the_object_that_its_file_defines(package):
    module = importlib.import_module(package)
    assert isinstance(module, LazyPackage)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert getattr(importlib.import_module(value.__module__), value.__name__) is value


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_exactly_the_public_names(package):
    source = Path(importlib.import_module(package).__file__).read_text(encoding="utf-8")
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    assert len(blocks) == 1
    seen = {alias.asname or alias.name for each in blocks[0].body for alias in each.names}
    assert seen == set(importlib.import_module(package).__all__) - {"__version__"}


@pytest.mark.parametrize(
    "first",
    [
        "from fl_platform.attacks import strike",
        "import fl_platform.attacks.strike",
        "import fl_platform.attacks.strike as strike",
        "from fl_platform.attacks.strike import strike",
        "import importlib; importlib.import_module('fl_platform.attacks.strike')",
        "from fl_platform.attacks import ablations",
        "from fl_platform.attacks import *",
    ],
)
def test_a_name_means_the_function_whichever_way_its_file_was_imported(first):
    code = f"""{first}
import pickle, fl_platform.attacks as attacks
from fl_platform.attacks import strike
same = strike is attacks.strike is sys.modules["fl_platform.attacks.strike"].strike
print(json.dumps([same, strike.__module__, pickle.loads(pickle.dumps(strike)) is strike]))"""
    assert fresh(code) == [True, "fl_platform.attacks.strike", True]


def test_a_name_imports_its_own_file_and_what_that_needs():
    code = """from fl_platform.attacks import strike
print(json.dumps(sorted(m for m in sys.modules if m.startswith("fl_platform.attacks."))))"""
    assert fresh(code) == [
        f"fl_platform.attacks.{name}" for name in ("line_search", "rows", "strike")
    ]


@pytest.mark.parametrize("package", RULES)
def test_a_package_alone_imports_neither_its_files_nor_torch(package):
    code = f"""import {package}
own = [name for name in sys.modules if name.startswith("{package}.")]
print(json.dumps([own, "torch" in sys.modules]))"""
    assert fresh(code) == [[], False]


def test_a_file_without_a_public_name_stays_a_module():
    code = """import fl_platform.attacks.rows, fl_platform.attacks as attacks
print(json.dumps(type(attacks.rows).__name__))"""
    assert fresh(code) == "module"


def test_an_unknown_name_is_refused():
    attacks = importlib.import_module("fl_platform.attacks")
    with pytest.raises(AttributeError, match=r"'fl_platform\.attacks' has no attribute 'stryke'"):
        _ = attacks.stryke
    assert not hasattr(attacks, "_no_private_name")


def test_a_name_can_be_replaced_and_put_back(monkeypatch):
    attacks = importlib.import_module("fl_platform.attacks")
    before = attacks.strike
    with monkeypatch.context() as patch:
        patch.setattr(attacks, "strike", len)
        assert attacks.strike is len
    assert attacks.strike is before


def test_reload_keeps_the_names():
    partitions = importlib.import_module("fl_platform.data.partitions")
    before = partitions.iid
    assert importlib.reload(partitions).iid is before
    assert pickle.loads(pickle.dumps(partitions.iid)) is before
