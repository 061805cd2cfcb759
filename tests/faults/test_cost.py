"""R4: a kill loses what ran since the last commit, and commits cost a small share of a run."""

from __future__ import annotations

import re
import time

import pytest
import torch

from fl_platform.tracking.active_run import CheckpointInterval
from fl_platform.tracking.checkpoint import CheckpointFile
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs
from tests.faults.runs import QUIET, command

pytestmark = pytest.mark.nightly
DIGITS = ["run", "attack=strike", "defense=centered_clipping", "rounds=120", *QUIET]


def test_commits_take_less_than_five_percent_of_a_digits_run(zygote, home, tmp_path, figure):
    child = zygote.start(*DIGITS, "--home", str(home), out=tmp_path, patch={"tell_commits": None})
    assert child.finish(600) == 0, child.text
    spent, total = map(float, re.search(r"commits: (\S+) of (\S+) s", child.text).groups())
    figure("R4", f"commits took {100 * spent / total:.2f} % of {total:.0f} s on digits")
    assert spent < 0.05 * total


def test_commits_take_less_than_two_percent_of_a_cifar_run_by_calculation(tmp_path, figure):
    """ResNet-18 and server momentum: 11 million parameters twice; the cadence does the rest."""
    file = CheckpointFile(tmp_path / "checkpoint.pt")
    state = {"weights": torch.randn(11_200_000), "momentum": torch.randn(11_200_000)}
    cadence = CheckpointInterval()
    for _ in range(3):
        with cadence:
            file.save(state)
    cost = cadence.spent / 3
    share = cost / (cost + cadence.interval)
    figure("R4", f"a commit of 90 MB took {cost:.2f} s, so {100 * share:.2f} % of a CIFAR run")
    assert share < 0.02


def test_a_kill_loses_at_most_what_ran_since_the_last_commit(
    zygote, home, tmp_path, chance, figure
):
    """With the cadence as it is: the checkpoint is at most an interval and a round behind."""
    # the kills continue one run: it must not end, however fast the machine trains it
    arguments = command("mimic/rfa/fedavgm", home=home, rounds=200_000)
    behind, rounds = [], []
    for _ in range(8):
        child = zygote.start(*arguments, out=tmp_path)
        assert child.wait(chance.uniform(4, 12)) is None, child.text
        killed = time.time()
        child.kill()
        child.finish()
        (folder,) = all_runs(home)
        if not folder.checkpoint.exists():
            continue
        done = CheckpointFile(folder.checkpoint).load()["global_step"]
        points = read(folder.journal).metrics["round/loss"]
        lost = sorted(points[step].time for step in points if step > done)
        rounds.append(len(lost))
        behind.append(killed - min(lost) if lost else 0.0)
    assert behind
    figure("R4", f"{len(behind)} kills redid at most {max(rounds)} rounds, {max(behind):.1f} s")
