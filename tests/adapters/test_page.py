"""The page about adapters says what is so: its example runs with the package alone."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
FILES = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^fl-platform ((?:run|grid) --plugin .*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_an_own_rule_meets_strike(command, tmp_path):
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words = shlex.split(command.replace("rounds=10", "rounds=2"))
    quiet = ["runtime.tracking=journal"]
    done = subprocess.run(
        [sys.executable, "-m", "fl_platform.cli", *words, *quiet],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "STRIKE" in done.stdout or "strike" in done.stdout + done.stderr
    assert (
        len(list((tmp_path / "mlruns" / "runs").glob("*/result.json")))
        == {
            "run": 1,
            "grid": 4,
        }[words[0]]
    )
