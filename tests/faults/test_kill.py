"""R1, R4: killed at uniformly random instants and typed again, a run ends in the same bits."""

from __future__ import annotations

import functools
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from fl_platform.tracking.run_folder import all_runs
from tests.faults.conftest import SEED, make_home
from tests.faults.runs import PAIRS, Outcome, command, kill_until_done, outcome, side_by_side
from tests.faults.zygote import Zygote

COMMIT_EVERY = (0.0, 0.05, 0.2, 1.0)  # seconds; a run's own least interval is 1
# Another pair first each time, all of them in turn.
TURN = random.Random(f"{SEED} turn").sample(sorted(PAIRS), len(PAIRS))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each pair's outcome when nobody disturbs it, and the seconds that it takes."""

    @functools.cache
    def run(zygote: Zygote, pair: str) -> tuple[Outcome, float]:
        home = make_home(tmp_path_factory.mktemp("undisturbed") / "home")
        child = zygote.start(*command(pair, home=home), out=home.parent)
        assert child.finish() == 0, child.text
        return outcome(home), time.monotonic() - child.begun

    return run


def trial(
    zygote: Zygote, pair: str, undisturbed: Any, chance: random.Random, path: Path, most: int = 8
) -> int:
    """Kill and continue once over; the number of kills, or an error with what differs."""
    expected, seconds = undisturbed(zygote, pair)
    home = make_home(path / "home")
    every = chance.choice(COMMIT_EVERY)
    arguments = command(pair, home=home)
    settings = {"out": path, "patch": {"commit_every": every}}
    done = kill_until_done(zygote, arguments, chance, seconds, most=most, **settings)
    found = expected.differences(outcome(home))
    assert not found, f"{pair}, {done.kills} kills, commits every {every} s: {found}"
    (folder,) = all_runs(home)
    assert not list(folder.path.glob(".*.tmp")), "a temporary file stayed"
    return done.kills


@pytest.mark.parametrize("index", range(5))
def test_a_killed_run_ends_in_the_same_bits(zygote, undisturbed, chance, tmp_path, index):
    trial(zygote, TURN[index], undisturbed, chance, tmp_path, most=3)


@pytest.mark.nightly
def test_many_killed_runs_end_in_the_same_bits(zygote, undisturbed, chance, tmp_path, figure):
    trials = int(os.environ.get("FL_FAULT_TRIALS", "50"))
    pairs = min(trials, len(TURN))
    # as long beside another as the runs that are killed
    side_by_side(lambda pair: undisturbed(zygote, pair), TURN[:pairs])
    chances = [random.Random(chance.random()) for _ in range(trials)]

    def one(i: int) -> int:
        return trial(zygote, TURN[i % pairs], undisturbed, chances[i], tmp_path / str(i))

    kills = side_by_side(one, range(trials))
    figure("R1", f"{trials} of {trials} runs equal after {sum(kills)} kills, {pairs} pairs")


def test_a_rule_that_does_not_save_its_memory_is_found_out(
    zygote, undisturbed, chance, tmp_path, home
):
    """The negative control: without its centre, centered clipping goes on to other bits."""
    pair = "mimic/centered_clipping"
    expected, _ = undisturbed(zygote, pair)
    arguments = command(pair, home=home)
    patch = {"commit_every": 0, "forget": "CenteredClipping"}
    child = zygote.start(*arguments, out=tmp_path, patch=patch)
    _wait_for_checkpoint(home, child)
    child.kill()
    assert child.finish() == -9, "it was done before it could be killed"
    again = zygote.start(*arguments, out=tmp_path, patch=patch)
    assert again.finish() == 0, again.text
    assert "weights" in str(expected.differences(outcome(home)))


def _wait_for_checkpoint(home: Path, child: Any) -> None:
    while child.wait(0.005) is None:
        folders = list(all_runs(home))
        if folders and folders[0].checkpoint.exists():
            return
    raise AssertionError(f"no checkpoint before the end:\n{child.text}")
