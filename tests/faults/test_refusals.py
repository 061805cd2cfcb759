"""S3: how soon a mistyped configuration is refused. Measured and told, never a limit of a test."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from fl_platform.config import ConfigError, compose
from fl_platform.tracking.run_folder import runs_root
from tests.config.test_mutants import CASES
from tests.faults.conftest import REPOSITORY

pytestmark = pytest.mark.nightly


def test_refusals_in_one_process(figure):
    times = []
    for choice, key, text in random.Random(0).sample(CASES, 400):
        begun = time.process_time()
        with pytest.raises(ConfigError):
            compose([*choice, f"{key}={text}"], REPOSITORY)
        times.append(1000 * (time.process_time() - begun))
    times.sort()
    figure("S3", f"400 mutants: median {times[200]:.0f}, slowest {times[-1]:.0f} ms of processor")


def test_ten_refusals_from_the_command_line(home, figure):
    times = []
    for choice, key, text in random.Random(1).sample(CASES, 10):
        line = [sys.executable, "-m", "fl_platform.cli", "run", *choice, f"{key}={text}"]
        line += ["--home", str(home)]
        begun = time.monotonic()
        done = subprocess.run(
            [*line, "--home", str(home)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        times.append(time.monotonic() - begun)
        assert done.returncode == 2, (line, done.stderr)
        assert done.stderr.count("\n") == 1
    assert not runs_root(home).exists()
    figure("S3", f"10 mutants from the command line: {min(times):.2f} to {max(times):.2f} s")
