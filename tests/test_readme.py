"""The README's example is run as it stands, and its commands exist."""

import csv
import re
import shlex
import sys
from pathlib import Path

import pytest

from fl_platform.config import compose
from fl_platform.grid.spec import read_grid
from fl_platform.run.runner import run

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def test_the_fifteen_lines_train_a_model():
    block = re.search(r"<!-- example:start -->\n```python\n(.*?)```", README, re.DOTALL)
    code = [line for line in block[1].splitlines() if line.strip()]
    assert len([line for line in code if not re.match(r"(from|import) ", line)]) <= 15
    names = {}
    exec(compile(block[1], "README.md", "exec"), names)
    module, inputs, labels = (names[name] for name in ("module", "inputs", "labels"))
    right = (module.model(inputs.flatten(0, 1)).argmax(1) == labels.flatten()).float().mean()
    assert right > 0.5  # three classes: chance is a third


def test_the_run_that_is_shown_ends_as_the_recorded_one():
    """Its accuracies are those of the results page; a change of the code would leave them old."""
    shown = re.search(r"(\S+) % last, (\S+) % tail \((\S+) % best on the test set\)", README)
    command = re.search(r"^\$ fl-platform run task=(\S+) attack=(\S+) defense=(\S+)$", README, re.M)
    file = REPOSITORY / "docs" / "results" / "data" / "table1-digits.csv"
    with file.open(newline="") as stream:
        (row,) = [
            row
            for row in csv.DictReader(stream)
            if (row["task"], row["attack"], row["defense"]) == command.groups()
            and (row["seed"], row["preset"], row["mixing"]) == ("0", "none", "")
        ]
    recorded = [row[f"accuracy_{name}"] for name in ("last", "tail", "best")]
    assert list(shown.groups()) == [f"{float(value):.2f}" for value in recorded]


def test_every_make_target_that_is_told_exists():
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    told = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert told
    assert told <= targets


def test_every_page_that_is_linked_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty folder; packages imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_files_of_a_page_run_as_printed(page, workspace):
    text = (REPOSITORY / page).read_text()
    blocks = re.findall(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", text, re.M | re.S)
    for name, content in blocks:
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(content)
    lines = re.findall(r"^fl-platform .*", text, re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in lines]
    (words,) = [words[2:] for words in commands if words[:3] == OWN]
    quiet = ["runtime.tracking=journal", "runtime.progress=none", "rounds=2"]
    overrides = [word for word in words if "=" in word]
    config = compose(overrides + quiet, workspace, plugins=[words[1]])
    assert run(config, workspace).status == "FINISHED"
    for name, _ in blocks:
        if name.startswith("conf/experiment/"):
            grid = read_grid(Path(name).stem, workspace)
            assert len(grid.sweeps([])) >= 1
            assert ["fl-platform", "grid", Path(name).stem] in commands


OWN = ["fl-platform", "run", "--plugin"]
