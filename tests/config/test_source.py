"""What is read from a rule's source is what the imported rule says of itself."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fl_platform.config.rules import (
    GIVES,
    Parameter,
    is_agnostic_node,
    parameters,
    written_parameters,
)
from fl_platform.config.static_signature import read_signature
from fl_platform.config.targets import PACKAGES
from fl_platform.core.rule import is_agnostic

ROOT = Path(__file__).parents[2]
TARGETS = sorted(
    (group, node["_target_"])
    for group in ("attack", "defense", "mixing", "task.data", "task.model")
    for file in (ROOT / "conf" / group.partition(".")[0]).glob("*.yaml")
    for node in [yaml.safe_load(file.read_text()) or {}]
    for node in [node.get(group.partition(".")[2]) if "." in group else node]
    if "_target_" in node
)


@pytest.mark.parametrize(("group", "target"), TARGETS)
def test_source_and_import_agree_on_every_shipped_rule(group, target):
    package, _, name = target.rpartition(".")
    rule = getattr(importlib.import_module(package), name)
    written = written_parameters(target, group)
    assert written is not None, "it has to be imported, which costs seconds"
    assert written == parameters(rule)
    assert list(written) == list(parameters(rule))
    assert read_signature(target).gives == GIVES[group]
    if group == "attack":
        assert is_agnostic_node({"_target_": target}) == is_agnostic(rule)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write the only module of a package that looks like one of ours."""
    monkeypatch.setattr("fl_platform.__file__", str(tmp_path / "__init__.py"))

    def write(body, init="from fl_platform.attacks.rule import rule"):
        (tmp_path / "attacks").mkdir()
        (tmp_path / "attacks" / "__init__.py").write_text(init)
        (tmp_path / "attacks" / "rule.py").write_text(body)
        return "fl_platform.attacks.rule"

    return write


def test_aliases_marks_and_defaults_are_followed(package):
    target = package(
        "Side = Literal['left', 'right']\nFIRST = 0.5\n"
        "def rule(x, *, a: Annotated[float, Above(0)] | None = None, b: Side = 'left',\n"
        "         c: int = -3, d: float = FIRST, e: tuple[float, ...]) -> Tensor: ..."
    )
    written = written_parameters(target, "attack")
    assert {name: p.default for name, p in written.items() if not p.required} == {
        "a": None, "b": "left", "c": -3, "d": 0.5,
    }  # fmt: skip
    assert written["c"] == Parameter(int, -3)
    assert written["e"].required


@pytest.mark.parametrize(
    "body",
    [
        "def rule(x, *, a: float = open('canary', 'w')) -> Tensor: ...",
        "def rule(x, *, a: (lambda: 1)() = 1) -> Tensor: ...",
        "def rule(x, *, a: Strange = 1) -> Tensor: ...",
        "def rule(x, *, a=1) -> Tensor: ...",
        "def rule(x, *, a: float = 1, **more) -> Tensor: ...",
        "def rule(x) -> Dataset: ...",
        "from os import system as rule",
        "a = b\nb = a\nrule = a",
        "rule = 3",
        "class rule:\n    pass",
        "def rule(",
    ],
)
def test_what_cannot_be_read_is_left_to_the_import_and_not_run(package, tmp_path, body):
    assert written_parameters(package(body), "attack") is None
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("init", ["rule = 1", "from os.path import rule", "from .rule import rule"])
def test_a_name_from_elsewhere_is_left_to_the_import(package, init):
    assert written_parameters(package("def rule(x) -> Tensor: ...", init), "attack") is None
    assert read_signature("os.system") is None


LIGHT = """
import sys
from pathlib import Path
from fl_platform.config import compose, config_hash
home = Path(sys.argv[1])
for group in ("attack", "defense", "mixing", "task"):
    for file in (home / "conf" / group).glob("*.yaml"):
        config_hash(compose([f"{group}={file.stem}"], home))
from fl_platform.run.result import finished
import fl_platform.tracking.run_folder, fl_platform.tracking.lock
sys.exit(sorted({"torch", "lightning", "mlflow", "sklearn", "numpy"} & set(sys.modules)) or 0)
"""


def test_a_run_has_its_hash_before_anything_heavy_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(ROOT)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_group_has_its_package():
    assert {*PACKAGES, "observers.metrics"} == set(GIVES)  # metrics come from plug-ins alone
