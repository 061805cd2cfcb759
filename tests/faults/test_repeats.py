"""P1: hash seed, folder, time zone, neighbours and kills change no bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.faults.conftest import REPOSITORY, make_home
from tests.faults.runs import command, kill_until_done, outcome

PAIR = "strike/nnm_bucketing+median"


def test_two_side_by_side_elsewhere_in_another_zone_and_one_killed_agree(zygote, tmp_path, chance):
    homes = [make_home(tmp_path / name) for name in ("here", "there", "killed")]
    places = [
        {"cwd": tmp_path, "env": {"TZ": "UTC"}},
        {"cwd": homes[1], "env": {"TZ": "Pacific/Auckland", "LC_ALL": "C"}},
    ]
    pair = [
        zygote.start(*command(PAIR, home=h), out=tmp_path, **p)
        for h, p in zip(homes, places, strict=False)
    ]
    assert [child.finish() for child in pair] == [0, 0], [child.text for child in pair]
    seconds = time.monotonic() - pair[0].begun
    settings = {"out": tmp_path, "patch": {"commit_every": 0}}
    kill_until_done(zygote, command(PAIR, home=homes[2]), chance, seconds, most=2, **settings)
    first = outcome(homes[0])
    assert len(first.weights) == 64
    for home in homes[1:]:
        assert first.differences(outcome(home)) == []


@pytest.mark.nightly
def test_one_hash_over_every_circumstance(tmp_path, chance, figure):
    seen: dict[str, list[str]] = {}
    cases = 0
    for hash_seed in ("0", "1", "2"):  # the only circumstance that needs an interpreter of its own
        home = make_home(tmp_path / f"hash{hash_seed}")
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)}
        trials = tmp_path / f"trials{hash_seed}.json"
        script = [sys.executable, "-m", "tests.faults.circumstances", str(home), str(trials)]
        chosen = [json.dumps(command(PAIR, home=home)), str(chance.randrange(2**31))]
        done = subprocess.run(
            [*script, *chosen], cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for case, weights in json.loads(trials.read_text()).items():
            seen.setdefault(weights, []).append(f"hash seed {hash_seed}, {case}")
            cases += 1
    assert len(seen) == 1, seen
    assert cases == 3 * 2 * 2 * 2 * 2
    figure("P1", f"{cases} runs under different circumstances, one SHA-256")
