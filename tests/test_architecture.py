"""Figures of the architecture: one name per notion, few rooms, short functions, no circle."""

import ast
import subprocess
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "fl_platform"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
SHARED = {"__init__", "runner", "spec"}  # the same word in every story


def twice(places):
    return {name: sorted(map(str, where)) for name, where in places.items() if len(where) > 1}


def test_no_two_files_have_one_name():
    names = defaultdict(list)
    for path in FILES:
        if path.stem not in SHARED:
            names[path.stem].append(path.relative_to(PACKAGE))
    assert not twice(names)


def test_no_two_public_classes_have_one_name():
    names = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names[node.name].append(path.relative_to(PACKAGE))
    assert not twice(names)


def lines_of(function):
    """Lines of a function's body without its docstring."""
    first, *rest = function.body
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = rest[0] if documented and rest else first
    return function.end_lineno - start.lineno + 1


def test_functions_are_short():
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and lines_of(node) > 60
    ]
    assert not long


def test_there_are_few_rooms_and_files():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert len(rooms - {"__init__"}) <= 20


def test_the_top_level_has_no_file_that_a_program_left_there():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    tracked = {name.partition("/")[0] for name in listed.stdout.split("\0") if name}
    folders = {"benchmarks", "conf", "docs", "examples", "fl_platform", "mlruns", "tests", "tuning"}
    files = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"}
    settings = {".ci", ".github", ".gitignore", ".pre-commit-config.yaml"}
    lock = {"pyproject.toml", "requirements.lock"}
    assert tracked <= folders | files | settings | lock
