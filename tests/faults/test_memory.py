"""A run that does not fit into memory, or whose loss is no number, ends alone and says so."""

from __future__ import annotations

import pytest

from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs
from tests.faults.runs import QUIET, SMALL, command, outcome

PAIR = "ipm/bucketing+median"


def test_a_run_without_memory_fails_and_can_be_told_apart(zygote, home, tmp_path):
    large = zygote.start(
        *command(PAIR, "task.model.hidden=4000000", home=home), out=tmp_path, memory=300_000_000
    )
    assert large.finish() not in (0, 143), large.text
    assert "memory" in large.text
    (failed,) = all_runs(home)
    history = read(failed.journal)
    assert history.status == "FAILED"
    assert failed.result is None


@pytest.mark.nightly
def test_a_cell_without_memory_does_not_take_its_grid_along(zygote, home, tmp_path):
    cells = ["task.model.hidden=8,4000000,16", "rounds=2"]
    child = zygote.start(
        *("grid", "task=digits", *SMALL, *QUIET, *cells, "--jobs", "1", "--no-report"),
        *("--home", str(home)), out=tmp_path, memory=300_000_000,
    )  # fmt: skip
    assert child.finish(300) == 1, child.text
    cells_alone = [folder for folder in all_runs(home) if folder.describe()["parent_run_id"]]
    ends = sorted(read(folder.journal).status for folder in cells_alone)
    assert ends == ["FAILED", "FINISHED", "FINISHED"], child.text
    assert "memory" in child.text


def test_a_loss_that_is_no_number_ends_the_run_in_that_round(zygote, home, tmp_path):
    huge = ["task.local.lr=1e18", "task.local.clip=null", "defense=mean"]
    chosen = command(PAIR, *huge, home=home, rounds=24)
    child = zygote.start(*(word for word in chosen if word != "defense=median"), out=tmp_path)
    assert child.finish() == 5, child.text
    found = outcome(home)
    assert found.status == "DIVERGED"
    (folder,) = all_runs(home)
    assert folder.result["accuracy_tail"] is None
    assert folder.result["reason"].startswith("round ")
    assert folder.result["rounds"] <= 2
