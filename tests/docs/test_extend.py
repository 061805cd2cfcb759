"""Every page of docs/extend: its files are written, its tests pass, its command trains."""

import dataclasses
import importlib
import inspect
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.run.runner import run
from fl_platform.tracking import uploader
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "docs" / "extend"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")
QUIET = ["runtime.tracking=journal", "runtime.progress=none"]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\S+\.(?:py|yaml|toml))\n")


def blocks(page):
    """(language, text) of every fenced block of a page."""
    return BLOCK.findall((FOLDER / f"{page}.md").read_text())


def commands(page):
    """The words of every command of a page, after ``fl-platform run``."""
    shown = [text for language, text in blocks(page) if language == "bash"]
    lines = [shlex.split(line) for text in shown for line in text.splitlines()]
    assert all(words[:2] == ["fl-platform", "run"] for words in lines)
    return [words[2:] for words in lines]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A workspace folder; packages imported from it are forgotten afterwards."""
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def written(page, home):
    """Write the named blocks of ``page`` into ``home``; their paths."""
    paths = []
    for language, text in blocks(page):
        named = NAME.match(text)
        assert named or language == "bash", f"{page}: a block without a file name: {text[:60]!r}"
        if named:
            path = home / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            paths.append(path)
    return paths


# What a page's run must leave, beside a finished run of two rounds.
def leaves_values(folder, history):
    assert {"norms/honest", "norms/byzantine", "norms/aggregate"} <= history.metrics.keys()
    assert history.params["observers.metrics.norms.quantile"] == 0.9


def leaves_snapshots(folder, history):
    assert len(list(folder.artifacts.glob("model_*.pt"))) == 2


def leaves_a_table(folder, history):
    rows = (folder.artifacts / "values" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "test/accuracy" in rows[0]
    assert "attack.nu" in (folder.artifacts / "values" / "hparams.yaml").read_text()


def leaves_a_copy(folder, history):
    uploader.finish()
    copies = folder.path.parents[2] / "csv"
    rows = (copies / f"{folder.describe()['run_id']}.csv").read_text().splitlines()
    assert len([row for row in rows if row.startswith("test/accuracy,")]) == 2
    assert len(list(copies.glob("*.status"))) == 1


LEAVES = {
    "metric": leaves_values,
    "callback": leaves_snapshots,
    "logger": leaves_a_table,
    "exporter": leaves_a_copy,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_command_of_a_page_trains(page, home):
    written(page, home)
    (words,) = commands(page)
    plugin = words[words.index("--plugin") + 1]
    typed = [word for word in words if "=" in word]
    typed += [word for word in QUIET if word.partition("=")[0] not in " ".join(typed)]
    with pytest.raises(ConfigError):
        compose(typed, home)  # only with the plug-in
    config = compose(typed, home, plugins=[plugin])
    assert f'"{plugin}.' in json.dumps(dataclasses.asdict(config))
    result = run(config, home)
    assert (result.status, result.rounds) == ("FINISHED", 2)
    folder = run_folder(home, config_hash(config))
    LEAVES.get(page, lambda *_: None)(folder, read(folder.journal))


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_of_a_page_pass(page, home, tmp_path_factory):
    tests = [path for path in written(page, home) if path.name.startswith("test_")]
    assert tests, f"{page}: expected a file test_*.py"
    for path in tests:
        module = importlib.import_module(path.stem)
        cases = [case for name, case in vars(module).items() if name.startswith("test_")]
        assert cases
        for case in cases:
            given = inspect.signature(case).parameters
            case(**{name: tmp_path_factory.mktemp("case") for name in given})


def test_the_index_lists_every_page():
    listed = set(re.findall(r"\]\(([\w-]+)\.md\)", (FOLDER / "README.md").read_text()))
    assert listed == set(PAGES)


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("docs/**/*.md"))
)
def test_every_linked_file_of_the_docs_exists(page):
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (REPOSITORY / page).read_text()):
        assert target.startswith("http") or (folder / target).exists(), f"{page}: {target}"
