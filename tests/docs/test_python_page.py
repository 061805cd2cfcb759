"""The block of docs/python.md runs as it stands, in an empty workspace."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text()


def test_the_block_runs(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    script = tmp_path / "script.py"
    script.write_text(code + 'assert (folder / "index.html").is_file()\nassert len(frame) == 5\n')
    places = {"PYTHONPATH": str(REPOSITORY), "FL_PLATFORM_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env={**os.environ, **places}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FINISHED" in done.stdout
