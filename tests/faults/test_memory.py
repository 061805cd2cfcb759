"""A run that does not fit into memory, or whose loss is no number, ends alone and says so."""

from __future__ import annotations

from fl_platform.tracking.folder import all_runs
from fl_platform.tracking.journal import read
from tests.faults.runs import command, outcome

PAIR = "ipm/bucketing+median"


def test_a_run_without_memory_fails_and_leaves_its_neighbours_alone(zygote, home, tmp_path):
    large = zygote.start(
        *command(PAIR, "task.model.hidden=4000000", home=home), out=tmp_path, memory=300_000_000
    )
    assert large.finish() not in (0, 143), large.text
    assert "memory" in large.text
    (failed,) = all_runs(home)
    history = read(failed.journal)
    assert history.status == "FAILED"
    assert failed.result is None
    small = zygote.start(*command(PAIR, home=home, rounds=2), out=tmp_path)
    assert small.finish() == 0, small.text
    assert sorted(read(f.journal).status for f in all_runs(home)) == ["FAILED", "FINISHED"]


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
