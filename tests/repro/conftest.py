import shutil
import sys
from pathlib import Path

import pytest

from fl_platform import cli
from fl_platform.run import provenance

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = """# fl-platform repro run tiny
title: Tiny
experiment: quick
overrides:
  - task=digits
  - task.clients=10
  - rounds=2
  - runtime.tracking=journal
  - attack=none
  - defense=mean, median
seeds: 2
reference: reference/tiny.json
reference_seeds: 10
bands: {level: 0.01, margin: 1.0}
schedule: {every: day, at: "01:00"}
"""


def furnish(home):
    """A home with its own ``conf/`` and a suite of two cells that takes seconds."""
    shutil.copytree(REPOSITORY / "conf", home / "conf")
    (home / "conf" / "suite" / "tiny.yaml").write_text(TINY)
    return home


@pytest.fixture
def home(tmp_path):
    return furnish(tmp_path)


@pytest.fixture
def clean(monkeypatch):
    """A tree without changes, whatever is being worked on here."""
    monkeypatch.setattr(provenance, "git_state", lambda: ("c" * 40, False))


@pytest.fixture
def call(home, monkeypatch, capsys):
    """Call the command line in this process; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl-platform", *arguments, "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run
