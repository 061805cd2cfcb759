"""The notebooks of examples/: stored outputs are whole, and each runs in an empty workspace."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
LARGEST = 100_000  # bytes of a notebook with its outputs
# Terminal codes, rewritten lines, failures, and absolute paths, which are those of one machine.
REFUSED = re.compile(r"\x1b|\r|Traceback|site-packages|(?<![\w.:/<])/\w+/\w+")

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
    outputs = [out for cell in node.cells for out in cell.get("outputs", [])]
    texts = [out.get("text", "") for out in outputs]
    texts += [v for out in outputs for k, v in out.get("data", {}).items() if "image" not in k]
    found = [match[0] for text in texts for match in REFUSED.finditer(text)]
    return found + [out.ename for out in outputs if out.output_type == "error"]


def with_output(output):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])


@pytest.mark.parametrize(
    "text", ["saved in /opt/data/runs", "Traceback (most recent", "round 1\rround 2", "\x1b[1mA"]
)
def test_an_output_of_another_kind_is_seen(text):
    assert refused(with_output(nbformat.v4.new_output("stream", text=text)))
    shown = nbformat.v4.new_output("display_data", {"text/html": f"<td>{text}</td>"})
    assert refused(with_output(shown))
    fine = "mlruns/runs and/or http://127.0.0.1/x/y </td></tr> 3/4"
    assert not refused(with_output(nbformat.v4.new_output("stream", text=fine)))


def test_there_are_notebooks_and_an_error_in_one_is_seen():
    assert len(NOTEBOOKS) >= 3
    wrong = nbformat.v4.new_output("error", ename="ValueError", traceback=[])
    assert refused(with_output(wrong)) == ["ValueError"]


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
