"""Execute notebooks from their first cell to their last: python examples/execute.py NAME.ipynb.

Each notebook starts in an empty workspace, and its outputs are stored in its file.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def execute(notebook: Path, workspace: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells, run in ``workspace``.

    Raises:
        CellExecutionError: a cell raised an exception.
    """
    node = nbformat.read(notebook, as_version=4)
    own = {"FL_PLATFORM_HOME": str(workspace), "IPYTHONDIR": str(workspace / ".ipython")}
    client = NotebookClient(
        node,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(workspace)}},
    )
    return client.execute(env={**os.environ, **own})


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, or all, and store their outputs."""
    for path in [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as workspace:
            nbformat.write(execute(path, Path(workspace)), path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
