"""The files around the code agree with it and with each other."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import fl_platform

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def test_each_declared_python_is_tested_and_each_tested_one_declared():
    declared = {
        line.rpartition(" :: ")[2]
        for line in PROJECT["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    }
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())
    assert declared == set(workflow["jobs"]["suite"]["strategy"]["matrix"]["python"])
    least = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert least == min(declared, key=lambda text: int(text.partition(".")[2]))


def test_no_test_is_skipped_for_a_package_of_the_lock():
    """A package for every machine: without it the test must fail, not pass unseen."""
    lock = (REPOSITORY / "requirements.lock").read_text()
    everywhere = set(re.findall(r"^([a-z0-9-]+)==[^ ;]+ \\$", lock, re.MULTILINE))
    assert {"grpcio", "optuna-dashboard"} <= everywhere
    homes = importlib.metadata.packages_distributions()
    skipped = {
        f"{path.relative_to(REPOSITORY)}: {module}"
        for path in (REPOSITORY / "tests").rglob("*.py")
        for module in re.findall(r"(?:importorskip|find_spec)\([\"'](\w+)", path.read_text())
        if everywhere & {name.lower().replace("_", "-") for name in homes.get(module, [])}
    }
    assert not skipped


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_exists(path):
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        words = command.split()
        if words[0] == "make":
            assert set(words[1:]) <= targets
        elif not words[0].startswith(".venv/"):
            assert (REPOSITORY / words[0]).is_file(), command


def test_hooks_are_the_linters_of_make_lint():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    entries = {hook["entry"].replace(".venv/bin", "$(BIN)") for hook in hooks}
    recipe = re.search(
        r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE
    )
    assert {re.sub(r" --force-exclude| \.$", "", text) for text in entries} == {
        re.sub(r" \.$", "", line.strip()) for line in recipe[1].splitlines()
    }


def test_the_version_is_the_newest_of_the_changelog_and_of_the_citation():
    released = re.findall(
        r"^## (\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released == sorted(released, key=lambda v: [int(x) for x in v.split(".")], reverse=True)
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert released[0] == fl_platform.__version__ == citation["version"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_types_are_published():
    assert (REPOSITORY / "fl_platform" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_linked_file_and_make_target_exists(page):
    text = (REPOSITORY / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets
