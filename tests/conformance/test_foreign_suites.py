"""The unit tests of other libraries on our rules; the tests that do not pass are listed here.

ByzFL's tests are no part of its wheel: ``BYZFL_TESTS=DIR`` names the folder ``tests`` of a copy of
its repository. ByzPy's stand in its wheel. krum has no test-suite.
"""

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

LAST_BIT = (
    "equal to the last bit of float64: our means are sums of weights 1 / n times rows, so that"
    " weights can be carried back through pre-aggregation, and 1/3 + 4/3 + 7/3 rounds to 4 - 4e-16;"
    " to change that would change the bits of recorded runs"
)
TIE = (
    "n = 3, f = 1: all three scores are 27, ByzFL answers with the first row, we with the row whose"
    " distances to all others sum to least: a position in the input favours nobody"
)
BYZFL_FAILS = {
    ("TestAverageAggregation", "test_numpy_array"): LAST_BIT,
    ("TestAverageAggregation", "test_list_of_numpy_arrays"): LAST_BIT,
    ("TestCenteredClippingAggregation", "test_numpy_array"): LAST_BIT,
    ("TestCenteredClippingAggregation", "test_list_of_numpy_arrays"): LAST_BIT,
    ("TestKrumAggregation", "test_numpy_array"): TIE,
    ("TestKrumAggregation", "test_torch_tensor"): TIE,
    ("TestKrumAggregation", "test_list_of_numpy_arrays"): TIE,
    ("TestKrumAggregation", "test_list_of_torch_tensors"): TIE,
}
BYZPY_FAILS = {
    "::test_gm_torch_1d_matches_numpy_median": (
        "the geometric medians of an even number of points on a line are all points between the"
        " two in the middle; ByzPy's test asks for the lower one, where its start lies, we answer"
        " with the centre"
    ),
    "::test_caf_chunk_matches_direct": (
        "ByzPy's chunks take two power steps where we take the exact eigenvector"
    ),
}


def pytest_on(files, folder, **environment):
    """The process of pytest on foreign files, with our package before theirs."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    path = os.pathsep.join([str(HERE / "shims"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    if "SHIM_REPORT" in environment:
        command += ["-p", "byzpy_shim"]
    else:
        command += [f"--junitxml={folder / 'result.xml'}"]
    return subprocess.run(
        [*command, "--rootdir", str(folder), *map(str, files)],
        env=os.environ | environment | {"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_byzfl_unit_tests(tmp_path):
    named = os.environ.get("BYZFL_TESTS")
    if not named:
        pytest.skip("set BYZFL_TESTS to the folder tests of ByzFL's repository")
    files = [
        file
        for file in sorted(Path(named).glob("unit_test_*.py"))
        if file.stem != "unit_test_benchmark"  # trains on a GPU; no rule of its own
    ]
    assert len(files) == 3, f"Expected ByzFL's unit tests in {named}, found {files}."
    done = pytest_on(files, tmp_path)
    cases = list(ElementTree.parse(tmp_path / "result.xml").iter("testcase"))
    assert len(cases) >= 84, done.stdout
    failed = {
        (case.get("classname").rpartition(".")[2], case.get("name"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    print(f"{len(cases) - len(failed)} of {len(cases)} of ByzFL's tests pass")
    assert failed == set(BYZFL_FAILS), done.stdout


def test_byzpy_unit_tests(tmp_path):
    if importlib.util.find_spec("byzpy") is None:
        pytest.skip("ByzPy is not installed")
    home = Path(importlib.util.find_spec("byzpy").submodule_search_locations[0])
    places = [home / "aggregators", home / "pre_aggregators", home / "attacks"]
    files = [file for place in places for file in sorted(place.rglob("test_*.py"))]
    report = tmp_path / "report.json"
    done = pytest_on(files, tmp_path, SHIM_REPORT=str(report))
    assert report.exists(), done.stdout + done.stderr
    found = {name.rpartition("/")[2]: each for name, each in json.loads(report.read_text()).items()}
    ours = {name: outcome for name, (outcome, reached) in found.items() if reached}
    failed = {name for name, outcome in ours.items() if outcome != "passed"}
    print(f"{len(ours) - len(failed)} of the {len(ours)} of ByzPy's {len(found)} that reach a rule")
    assert len(ours) >= 25, done.stdout
    assert failed == set(BYZPY_FAILS), done.stdout
