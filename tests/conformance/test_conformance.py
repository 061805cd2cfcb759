"""The golden vectors, their reader, the comparison with other libraries and its page."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fl_platform import attacks, cli, defenses
from fl_platform.adapters.conformance import VECTORS, conformance, read_vectors
from fl_platform.adapters.conformance.explained import WHY
from fl_platform.adapters.conformance.golden import difference
from fl_platform.adapters.conformance.page import END, START, write_page
from fl_platform.adapters.conformance.peers import LIBRARIES, version
from fl_platform.adapters.conformance.verdicts import Peer, compared, ours
from tests.conformance import make_vectors

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
FILES = sorted(VECTORS.glob("*.json"))


def quiet(line):
    """In place of print."""


@pytest.fixture(scope="module")
def again():
    """The vectors computed anew by the reference."""
    return make_vectors.contents()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_rule_meets_its_vectors(path):
    for case in read_vectors(path):
        got = ours(case["rule"], case["settings"], np.array(case["rows"]), case["f"])
        off = difference(got, case["result"])
        assert off <= case["tolerance"], (case["input"], case["settings"], off)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_vectors_are_what_the_reference_computes(path, again):
    stored, fresh = json.loads(path.read_text()), again[path.stem]
    assert stored["inputs"] == fresh["inputs"]
    assert len(stored["vectors"]) == len(fresh["vectors"])
    for one, other in zip(stored["vectors"], json.loads(json.dumps(fresh["vectors"])), strict=True):
        assert (one["input"], one["settings"]) == (other["input"], other["settings"])
        assert difference(one["result"], other["result"]) <= 1e-9


def test_every_rule_has_vectors_or_a_reason(again):
    rules = {name for home in (attacks, defenses) for name in home.__all__ if name.islower()}
    rules -= {"largest_f", "tolerates"}
    assert rules == set(again) | set(make_vectors.WITHOUT)
    assert not set(again) & set(make_vectors.WITHOUT)


def test_a_wrong_rule_is_noticed(tmp_path):
    wrong = json.loads((VECTORS / "median.json").read_text())
    wrong["vectors"][0]["result"][0] += 1e-3
    (tmp_path / "median.json").write_text(json.dumps(wrong))
    report = conformance("median", say=quiet, vectors=tmp_path)
    assert len(report.wrong) == 1
    assert "off by" in report.wrong[0]
    assert difference([float("nan")], [1.0]) == float("inf")


def test_the_readers_of_the_module_and_the_page_are_short_and_read_the_same(tmp_path):
    source = (VECTORS.parent / "golden.py").read_text()
    reader = next(n for n in ast.parse(source).body if getattr(n, "name", "") == "read_vectors")
    assert reader.end_lineno - reader.lineno < 30
    block = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len(block.splitlines()) <= 30
    (tmp_path / "median.json").write_bytes((VECTORS / "median.json").read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    every = read_vectors(VECTORS / "median.json")
    expected = [case for case in every if case["settings"] == {"kind": "midpoint"}]
    assert len(done.stdout.splitlines()) == len(expected) > 5


# -- beside other implementations ----------------------------------------------------------------


def middle(rows, f):
    return np.median(rows, axis=0)


def drawn(rows, f):
    return np.median(rows, axis=0) + np.random.default_rng().normal()


def without_end(rows, f):
    while True:
        pass


def sums_of_squares_with_ties_first(rows, f):
    squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    nearest = np.sort(squares, axis=1)[:, 1 : max(len(rows) - f - 2, 1) + 1]
    return rows[nearest.sum(1).argmin()]


@pytest.mark.parametrize(
    ("rule", "settings", "call", "verdict"),
    [
        ("median", {}, middle, "equal"),
        ("mea_med", {}, middle, "different"),
        ("krum", {}, sums_of_squares_with_ties_first, "ties"),
        ("krum", {"neighbors": "n-f-1"}, sums_of_squares_with_ties_first, "different"),
        ("median", {"kind": "lower"}, lambda rows, f: np.sort(rows, 0)[(len(rows) - 1) // 2],
         "variant"),
    ],
)  # fmt: skip
def test_verdicts(rule, settings, call, verdict):
    outcome = compared(Peer("none", "theirs", rule, call, settings))
    assert outcome.verdict == verdict
    assert (outcome.least is not None) == (verdict in ("ties", "different"))
    if outcome.least is not None:
        got = ours(rule, settings, outcome.least.rows, outcome.least.f)
        assert difference(call(outcome.least.rows, outcome.least.f), got) > 1e-6


def test_a_rule_that_draws_differs_from_itself():
    assert compared(Peer("none", "theirs", "median", drawn, draws=True)).itself > 1e-6


def test_a_rule_that_refuses_or_does_not_end_is_reported(monkeypatch):
    monkeypatch.setattr("fl_platform.adapters.conformance.verdicts.PATIENCE", 0.01)
    outcome = compared(Peer("none", "theirs", "median", without_end))
    assert outcome.verdict == "refuses"
    assert "no answer within" in outcome.refused
    nothing = compared(Peer("none", "theirs", "median", lambda rows, f: None))
    assert "answers nothing" in nothing.refused


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.package)
def test_installed_libraries_are_as_the_page_says(library):
    release = version(library)
    if release is None:
        pytest.skip(f"{library.package} is not installed: {library.remark}")
    page = PAGE.read_text()
    assert f"### {library.package} " in page
    section = page.split(f"### {library.package} ")[1].split("\n### ")[0]
    words = {"ties": "equal but for ties", "variant": "named variant"}
    for peer in library.peers():
        if peer.name in ("CAF", "SMEA"):
            continue  # draw, or do not end: a minute
        outcome = compared(peer)
        line = next(line for line in section.splitlines() if line.startswith(f"| {peer.name} |"))
        assert f"| {words.get(outcome.verdict, outcome.verdict)} |" in line


def test_every_difference_on_the_page_is_explained():
    page = PAGE.read_text()
    assert "Not explained" not in page
    package = ""
    for line in page.split(START)[1].split(END)[0].splitlines():
        if line.startswith("### "):
            package = line.split()[1]
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[3] in ("different", "equal but for ties"):
            assert (package, cells[1]) in WHY
            assert f"- {cells[1]}: {WHY[package, cells[1]]}" in page


def test_the_page_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_page(page, "new")
    assert page.read_text() == f"before\n{START}\n\nnew\n\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="Expected the marks"):
        write_page(page, "new")


def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr("fl_platform.adapters.conformance.runner.version", lambda library: None)
    monkeypatch.setattr(sys, "argv", ["fl-platform", "conformance", "krum"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "golden vectors agree (rules: 1)" in shown
    assert "byzfl: not compared, not installed" in shown
