"""A suite as a person runs it, through the command line: exit codes, skips, drift, locks."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from fl_platform.repro import runner as repro
from fl_platform.repro.conditions import CouldNotRun
from fl_platform.repro.log import Clock, SuiteLog
from fl_platform.repro.reference import Reference, read_reference, write_reference
from fl_platform.run import provenance
from fl_platform.tracking.run_folder import all_runs
from tests.repro.conftest import furnish

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """A home whose suite was run without a reference, refused for that, and then accepted."""
    home = furnish(tmp_path_factory.mktemp("accepted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "git_state", lambda: ("c" * 40, False))
        with pytest.raises(CouldNotRun, match="20 runs are finished, but no reference exists"):
            repro.run_suite("tiny", home)
        repro.accept("tiny", home, "first", clock=Clock(lambda: NOW))
    return home


@pytest.fixture
def home(accepted, tmp_path):
    return shutil.copytree(accepted, tmp_path / "home")


def entries(home, kind="run"):
    return list(SuiteLog(home, "tiny").entries(kind))


def reference_file(home):
    return home / "conf" / "suite" / "reference" / "tiny.json"


def change(home, **values):
    """Change every outcome of one cell in the stored reference."""
    path = reference_file(home)
    before = read_reference(path)
    outcomes = {
        key: type(o)(**{**vars(o), **{k: v(o) for k, v in values.items()}})
        if "median" in o.cell
        else o
        for key, o in before.outcomes.items()
    }
    write_reference(path, Reference(before.origin, outcomes))


def results(home):
    return {f.path.name: f.result_file.stat().st_mtime_ns for f in all_runs(home) if f.result}


def test_what_was_accepted_says_where_it_comes_from(home):
    reference = read_reference(reference_file(home))
    assert (reference.origin.why, reference.origin.commit) == ("first", "c" * 40)
    assert reference.origin.accepted == "2026-03-01T12:00:00Z"
    conditions = reference.origin.conditions
    assert conditions["code_fingerprint"] == provenance.code_fingerprint()
    assert conditions["processor"] == provenance.processor()
    assert "partition_digest" not in conditions
    assert len(reference.outcomes) == 20
    assert {reference.seeds(o.cell) for o in reference.outcomes.values()} == {10}
    assert entries(home)[0]["verdict"] == "could not run"


def test_an_unchanged_tree_agrees_to_the_bit_and_runs_nothing_again(call, home, clean):
    before = results(home)
    code, out, err = call("repro", "run", "tiny")
    assert code == 0, err
    assert "agrees with its reference: 2 cells, 4 runs" in out
    assert "4 of 4 runs are" in out
    assert results(home) == before
    last = entries(home)[-1]
    assert (last["verdict"], last["code"], last["exact"], last["equal"]) == ("agrees", 0, True, 4)
    page = home / "mlruns" / "repro" / "tiny" / last["report"]
    assert "agrees with its reference" in page.read_text()
    parent = next(f for f in all_runs(home) if f.describe()["run_id"] == last["run_id"])
    tags = [json.loads(line) for line in parent.journal.read_text().splitlines()]
    told = next(record["values"] for record in tags if record["kind"] == "tags")
    assert (told["kind"], told["suite"], told["verdict"]) == ("repro", "tiny", "agrees")
    params = next(record["values"] for record in tags if record["kind"] == "params")
    assert (params["suite.seeds"], params["suite.reference_seeds"]) == (2, 10)
    assert (parent.artifacts / "report" / "index.html").exists()


def test_runs_that_are_gone_are_run_again_to_the_same_bits(call, home, clean):
    hashes = [key for key, o in read_reference(reference_file(home)).outcomes.items() if o.seed < 2]
    for name in hashes:
        shutil.rmtree(home / "mlruns" / "runs" / name)
    code, out, _ = call("repro", "run", "tiny")
    assert code == 0
    assert "4 of 4 runs are" in out
    assert set(hashes) <= set(results(home))


@pytest.mark.parametrize(
    "values",
    [
        {"accuracy": lambda o: o.accuracy + 5},
        {"weights": lambda o: "0" * 16},
        {"accuracy": lambda o: o.accuracy + (5 if o.seed == 1 else 0)},
    ],
    ids=["accuracy", "weights", "one seed"],
)
def test_what_differs_from_the_reference_is_named_where_bits_must_be_equal(
    call, home, clean, values
):
    change(home, **values)
    code, out, _ = call("repro", "run", "tiny")
    assert code == 1
    assert "tiny has drifted: 1 of 2 cells" in out
    assert "vs median, digits:" in out
    assert "n = 2" in out
    last = entries(home)[-1]
    assert (last["verdict"], len(last["drifted"])) == ("drifted", 1)
    assert "median" in last["drifted"][0]


def test_other_code_with_equal_bits_agrees_and_one_fallen_cell_is_caught(
    call, home, clean, monkeypatch
):
    """The code's fingerprint is another: runs are made anew, and differences are judged."""
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "other")
    before = results(home)
    code, out, _ = call("repro", "run", "tiny")
    assert code == 0
    assert "(code_fingerprint); 4 of 4 runs are equal" in " ".join(out.split())
    redone = {name for name, stamp in results(home).items() if before.get(name) != stamp}
    hashes = read_reference(reference_file(home)).outcomes
    assert {name for name in redone if name in hashes} == {
        key for key, o in hashes.items() if o.seed < 2
    }

    change(home, accuracy=lambda o: o.accuracy + 5, weights=lambda o: "0" * 16)
    code, out, _ = call("repro", "run", "tiny")
    assert code == 1
    assert "1 cells exceed the margin: running them with all reference seeds" in out
    assert "n = 10" in out
    assert "−5.00 points" in out
    last = entries(home)[-1]
    assert (last["exact"], last["runs"]) == (False, 12)
    assert list(last["differences"].values()) == [pytest.approx(-5)]

    reference = read_reference(reference_file(home))
    few = {k: o for k, o in reference.outcomes.items() if o.seed < 3}
    write_reference(reference_file(home), Reference(reference.origin, few))
    suite = home / "conf" / "suite" / "tiny.yaml"
    suite.write_text(suite.read_text().replace("reference_seeds: 10", "reference_seeds: 3"))
    code, _, err = call("repro", "run", "tiny")
    assert code == 2
    assert "fewer than 10 seeds cannot separate chance from drift" in err


def test_a_failed_cell_means_that_it_could_not_run(call, home, clean):
    suite = home / "conf" / "suite" / "tiny.yaml"
    text = suite.read_text().replace("task=digits", "task=arrays").replace("  - rounds=2\n", "")
    suite.write_text(text)
    (home / "data").mkdir()
    (home / "data" / "arrays.npz").write_bytes(b"no archive")  # a missing one is refused before
    reference_file(home).unlink()
    code, _, err = call("repro", "run", "tiny")
    assert code == 2
    assert "20 of 20" in err
    assert "failed" in err
    assert "arrays" in err
    last = entries(home)[-1]
    assert (last["verdict"], last["code"]) == ("could not run", 2)
    assert last["why"] in err


def test_a_reference_of_other_settings_is_refused_before_anything_runs(call, home, clean):
    suite = home / "conf" / "suite" / "tiny.yaml"
    suite.write_text(suite.read_text().replace("rounds=2", "rounds=3"))
    before = results(home)
    code, _, err = call("repro", "run", "tiny")
    assert code == 2
    assert "20 of 20" in err
    assert "has other settings" in err
    assert results(home) == before


@pytest.mark.parametrize("verb", [["run"], ["accept", "--why", "x"]])
@pytest.mark.parametrize(
    ("state", "told"), [(("c" * 40, True), "uncommitted changes"), (("", False), None)]
)
def test_code_that_no_commit_names_is_refused(call, home, monkeypatch, verb, state, told):
    monkeypatch.setattr(provenance, "git_state", lambda: state)
    if told is None:  # an installed release serves only where its code is the reference's
        told = "expected a git checkout"
        monkeypatch.setattr(provenance, "code_fingerprint", lambda: "other")
    code, _, err = call("repro", verb[0], "tiny", *verb[1:])
    assert code == 2
    assert told in err


def test_an_installed_release_serves_where_its_code_is_the_references(call, home, monkeypatch):
    monkeypatch.setattr(provenance, "git_state", lambda: ("", False))
    assert call("repro", "run", "tiny")[0] == 0


def test_a_fault_of_ours_is_no_drift(call, home, clean, monkeypatch):
    monkeypatch.setattr(repro.drift, "compare", lambda *a, **k: 1 / 0)
    code, _, err = call("repro", "run", "tiny")
    assert code == 2
    assert "ZeroDivisionError" in err
    trace = (home / "mlruns" / "repro" / "tiny" / "failure.txt").read_text()
    assert "Traceback" in trace


def test_accept_refuses_what_should_not_become_a_reference(call, home, clean, monkeypatch):
    before = reference_file(home).read_text()
    assert "got nothing" in call("repro", "accept", "tiny")[2]
    key, outcome = next(iter(read_reference(reference_file(home)).outcomes.items()))
    folder = home / "mlruns" / "runs" / key

    def refused(*words, says):
        code, _, err = call("repro", "accept", "tiny", "--why", "again", *words)
        assert code == 2
        assert says in err
        assert reference_file(home).read_text() == before

    result = (folder / "result.json").read_text()
    journal = (folder / "journal.jsonl").read_text()
    (folder / "result.json").unlink()
    refused(says=f"1 of 20 ({outcome.cell} s0) are not finished: fl-platform grid 'quick'")
    diverged = {**json.loads(result), "status": "DIVERGED", "accuracy_tail": None}
    (folder / "result.json").write_text(json.dumps(diverged))
    assert call("repro", "accept", "tiny", "--why", "again")[0] == 3  # the journal says FINISHED
    fallen = journal.replace('"status":"FINISHED"', '"status":"DIVERGED"')
    (folder / "journal.jsonl").write_text(fallen)
    refused(says="diverged; accept them as the result with --diverged")
    (folder / "result.json").write_text(result)
    (folder / "journal.jsonl").write_text(journal.replace('"dirty":"false"', '"dirty":"true"'))
    refused(says="come from code with uncommitted changes")
    (folder / "journal.jsonl").write_text(journal)
    described = (folder / "run.json").read_text()
    (folder / "run.json").write_text(described.replace('"threads": 1', '"threads": 2'))
    refused(says="threads: ")
    (folder / "run.json").write_text(described)
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "code_fingerprint", lambda: "other")
        refused(says="other code than the current")

    (folder / "result.json").write_text(json.dumps(diverged))
    (folder / "journal.jsonl").write_text(fallen)
    assert call("repro", "accept", "tiny", "--why", "again", "--diverged")[0] == 0
    assert read_reference(reference_file(home)).outcomes[key].accuracy is None
    assert call("repro", "accept", "tiny", "--why", "once more")[0] == 0  # it was so before


HOLD = """
import sys
from pathlib import Path
from fl_platform.repro.log import Clock, SuiteLog
with SuiteLog(Path(sys.argv[1]), "tiny").lock:
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_start_beside_a_running_one_is_skipped_with_a_logged_reason(call, home, clean):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        code, _, err = call("repro", "run", "tiny")
        assert code == 2
        assert f"process {holder.pid} on" in err
        assert "this start is skipped" in err
    finally:
        holder.communicate(b"\n")
    (skipped,) = entries(home, "skipped")
    assert f"process {holder.pid}" in skipped["why"]
    assert call("repro", "run", "tiny")[0] == 0


def test_an_old_timer_is_told_to_be_renewed(call, home, clean):
    code, out, _ = call("repro", "run", "tiny", "--scheduled")
    assert code == 0
    assert "fl-platform repro install" in out


def test_a_run_that_was_stopped_says_so_and_goes_on(call, home, clean, monkeypatch):
    judge = repro._compare

    def stop(session):
        raise repro.Interrupted(15)

    monkeypatch.setattr(repro, "_compare", stop)
    assert call("repro", "run", "tiny")[0] == 143
    assert entries(home)[-1]["verdict"] == "stopped"
    monkeypatch.setattr(repro, "_compare", judge)
    code, out, _ = call("repro", "run", "tiny")
    assert code == 0
    assert "agrees" in out


def test_history_shows_every_start_and_draws_the_runs(call, home, clean):
    diary = SuiteLog(home, "tiny")
    call("repro", "run", "tiny")
    change(home, accuracy=lambda o: o.accuracy + 5)
    call("repro", "run", "tiny")
    diary.note("missed", NOW, first=1, last=2, count=2, why="an entry of an earlier release")
    diary.note("skipped", NOW, why="process 1 is at work")
    code, out, _ = call("repro", "history", "tiny")
    assert code == 0
    assert "agrees" in out
    assert "drifted" in out
    assert "could not run" in out
    assert "an entry of an earlier release" not in out
    assert "process 1 is at work" in out
    assert (diary.folder / "history.png").stat().st_size > 2000
    assert f"figure: {diary.folder / 'history.png'}" in out


def test_the_history_of_a_suite_that_never_ran_says_what_to_type(call, home):
    shutil.rmtree(home / "mlruns")
    code, out, _ = call("repro", "history", "tiny")
    assert code == 0
    assert "fl-platform repro run tiny" in out
