"""The whole path in a repository of its own: real commits, a dirty tree, code that was changed."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.repro.conftest import REPOSITORY, furnish

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    home = furnish(tmp_path_factory.mktemp("clone"))
    shutil.copytree(
        REPOSITORY / "fl_platform", home / "fl_platform", ignore=lambda *_: ["__pycache__"]
    )
    shutil.copy(REPOSITORY / ".gitignore", home)
    git(home, "init", "--quiet")
    commit(home)
    return home


def git(home, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(home), *who, *words], check=True, capture_output=True)


def commit(home):
    git(home, "add", "--all")
    git(home, "commit", "--quiet", "--message", "step")


def repro(home, *words):
    done = subprocess.run(
        [sys.executable, "-m", "fl_platform.cli", "repro", *words],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home), "FL_PLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def last(home):
    lines = (home / "mlruns" / "repro" / "tiny" / "diary.jsonl").read_text().splitlines()
    return json.loads(lines[-1])


def test_from_a_fresh_clone_to_a_planted_drift(clone):
    assert repro(clone, "run", "tiny")[0] == 2
    assert repro(clone, "accept", "tiny", "--why", "first")[0] == 0
    code, _, err = repro(clone, "run", "tiny")
    assert code == 2
    assert "uncommitted changes" in err
    commit(clone)

    for _ in range(2):
        stamps = {f: f.stat().st_mtime_ns for f in (clone / "mlruns" / "runs").glob("*/run.json")}
        code, out, _ = repro(clone, "run", "tiny")
        assert code == 0, out
        assert all(f.stat().st_mtime_ns == stamp for f, stamp in stamps.items())
        assert last(clone)["exact"]

    rule = clone / "fl_platform" / "defenses" / "median.py"
    edit(rule, "Aggregate(updates.median(kind))", "Aggregate(-updates.median(kind))")
    commit(clone)
    code, out, _ = repro(clone, "run", "tiny")
    assert code == 1, out
    entry = last(clone)
    assert entry["drifted"] == ["none vs median, digits"]
    assert not entry["exact"]
    assert entry["runs"] == 12
    assert "n = 10" in out

    git(clone, "revert", "--no-edit", "HEAD")
    code, out, _ = repro(clone, "run", "tiny")
    assert code == 0, out
    assert last(clone)["exact"]
