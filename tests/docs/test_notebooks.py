"""The notebooks of examples/: stored outputs are whole, and each runs in an empty workspace."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
LARGEST = 100_000  # bytes of a notebook with its outputs
# Terminal codes, rewritten lines, failures, and paths of the machine that stored the outputs.
REFUSED = ("\\u001b", "\\r", "Traceback", "/tmp/", "/home/", "/root/", "site-packages")

sys.path.insert(0, str(REPOSITORY / "examples"))
from execute import execute  # noqa: E402

sys.path.pop(0)


def kinds(node):
    """Per code cell the kinds of its outputs."""
    cells = [cell for cell in node.cells if cell.cell_type == "code"]
    return [
        sorted({(out.output_type, *sorted(out.get("data", {}))) for out in cell.outputs})
        for cell in cells
    ]


def refused(node):
    text = json.dumps([cell.get("outputs", []) for cell in node.cells])
    errors = [out for cell in node.cells for out in cell.get("outputs", [])]
    return [part for part in REFUSED if part in text] + [
        out.ename for out in errors if out.output_type == "error"
    ]


def test_there_are_notebooks_and_an_error_in_one_is_seen(tmp_path):
    assert len(NOTEBOOKS) >= 3
    wrong = nbformat.v4.new_output("error", ename="ValueError", traceback=["\x1b[31mTraceback"])
    cell = nbformat.v4.new_code_cell("1 / 0", outputs=[wrong])
    assert refused(nbformat.v4.new_notebook(cells=[cell])) == ["\\u001b", "Traceback", "ValueError"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_outputs_are_whole_and_those_of_a_new_execution(path, tmp_path):
    stored = nbformat.read(path, as_version=4)
    assert path.stat().st_size <= LARGEST
    counts = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "execute it: make notebooks"
    assert refused(stored) == []
    executed = execute(path, tmp_path)  # raises on the first error
    assert refused(executed) == []
    assert kinds(executed) == kinds(stored)
