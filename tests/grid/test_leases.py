"""Leases: one holder at a time, a silent one loses its run, and the next continues its state."""

from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_platform import cli
from fl_platform.config import ConfigError
from fl_platform.grid import leased_runs
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.leases import LeaseTable
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.pull import TRIES, PullWorker, SharedStore, pull
from fl_platform.grid.runner import Options, run_grid
from fl_platform.tracking.folder_archive import pack, unpack
from fl_platform.tracking.journal import read
from fl_platform.tracking.lock import RunLock
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import all_runs, run_folder

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["task=digits", "rounds=8", "runtime.tracking=journal", "task.clients=10", "seed=0"]
RUN = "a" * 64


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/leases.db"


def homes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conf").symlink_to(REPOSITORY / "conf")
        yield tmp_path / name


def silence(table):
    """The lease ends now, as after the seconds without a renewal."""
    assert table._run("UPDATE fl_leases SET expires = {now} - 1 WHERE run = :run", run=RUN)


def begin(planned, home, store, monkeypatch):
    """Three rounds by a worker that then gives the run back; its lease."""

    def stop(self, trainer, *_):
        trainer.should_stop = trainer.global_step == 3

    with monkeypatch.context() as patched:
        patched.setattr(leased_runs.LeaseGuard, "on_train_batch_end", stop)
        claims = leased_runs.LeaseClaims(home, store, JobTable.of(planned, home))
        job = Job(planned[0])
        PullWorker(home, claims, "", lambda _: None)._execute(job)
    lease = claims.leases.look(planned[0].config_hash)
    assert (job.state, lease.state, lease.starts) == ("waiting", "free", 0)
    return lease


def test_a_run_has_one_holder_and_a_silent_one_loses_it(url):
    one, two = LeaseTable(url, "one"), LeaseTable(url, "two")
    token = one.claim(RUN, TRIES)
    assert two.claim(RUN, TRIES) is None
    silence(one)
    assert two.look(RUN).free
    assert one.renew(RUN, token)
    assert two.claim(RUN, TRIES) is None  # renewed before another worker came
    silence(one)
    other = two.claim(RUN, TRIES)
    assert not one.renew(RUN, token)  # every word of the first holder comes too late
    assert not one.pushed(RUN, token, "old.tar", "0", new=True)
    assert not one.finish(RUN, token, {"status": "FINISHED"})
    assert not one.give_back(RUN, token)
    assert two.pushed(RUN, other, "new.tar", "1", new=True)
    assert two.finish(RUN, other, {"status": "FINISHED"})
    assert one.look(RUN).archive == "new.tar"
    assert one.claim(RUN, TRIES) is None  # finished


def test_starts_that_lead_nowhere_are_counted_and_stops_are_not(url):
    table = LeaseTable(url, "one")
    for _ in range(2 * TRIES):  # stopped in order
        table.give_back(RUN, table.claim(RUN, TRIES))
    table.pushed(RUN, table.claim(RUN, TRIES), "a.tar", "0", new=False)
    for _ in range(TRIES):
        token = table.look(RUN).token
        table.give_back(RUN, token, "planted", counted=True)
        table.claim(RUN, TRIES)
    assert table.look(RUN).starts == TRIES
    assert table.claim(RUN, TRIES) is None
    assert table.look(RUN).reason == "planted"
    again = LeaseTable(url.replace("leases.db", "more.db"), "one")
    again.pushed(RUN, again.claim(RUN, TRIES), "a.tar", "0", new=True)
    assert again.look(RUN).starts == 0  # a new checkpoint


def test_workers_that_begin_together_share_the_parent_run_of_the_first(tmp_path, url, monkeypatch):
    first, second = homes(tmp_path)
    grid, planned = plan_grid(TINY, first)
    run_ids = []
    for home in (first, second):
        table = LeaseTable(url, str(home))
        with monkeypatch.context() as patched:
            patched.setattr(table, "look", lambda _: patched.undo())  # none yet, at the first look
            with leased_runs.join_by_lease(grid, planned, home, table) as parent:
                parent.start(TINY)
        run_ids.append(read(parent.folder.journal).run_id)
        assert parent.run_id == run_ids[-1]
    assert run_ids[0] == run_ids[1]


def test_a_worker_of_another_home_continues_the_pushed_run(tmp_path, url, monkeypatch):
    first, second = homes(tmp_path)
    store = SharedStore(url, str(tmp_path / "shared"))
    grid, planned = plan_grid(TINY, first)
    serial = run_grid(grid, planned, second, Options(jobs=1, report=False))
    expected = run_folder(second, planned[0].config_hash)
    expected = asdict(serial.table.jobs[0].result), expected.set_aside()

    begin(planned, first, store, monkeypatch)

    result = pull(grid, planned, second, Options(report=False), leases=store)
    found = asdict(result.table.jobs[0].result)
    own = ("run_id", "seconds", "seconds_training")
    assert {k: v for k, v in found.items() if k not in own} == {
        k: v for k, v in expected[0].items() if k not in own
    }
    one, two = (run_folder(home, planned[0].config_hash) for home in (first, second))
    assert one.describe() == two.describe()  # the same run, so one run in MLflow
    assert two.journal.read_bytes().startswith(one.journal.read_bytes()[:2000])
    assert two.journal.read_text().count('"status":"RUNNING"') == 2
    assert not read(two.journal).alarms

    # a third start in the first home executes nothing and mends its unfinished copy
    again = pull(grid, planned, first, Options(report=False), leases=store)
    assert again.to_json()["done"] == 1
    assert read(one.journal).status == "FINISHED"
    parents = [
        folder.describe()["run_id"]
        for home in (first, second)
        for folder in all_runs(home)
        if folder.describe()["name"].startswith("grid ") and not folder.aside
    ]
    assert len(parents) == 2
    assert len(set(parents)) == 1
    assert not list(first.glob("mlruns/.transfer-*"))


def test_a_run_whose_pushed_copy_is_damaged_fails_alone_and_for_all_workers(
    tmp_path, url, monkeypatch
):
    first, second = homes(tmp_path)
    store = SharedStore(url, str(tmp_path / "shared"))
    grid, planned = plan_grid([*TINY, "attack=none,lie"], first)
    lease = begin(planned, first, store, monkeypatch)
    with (tmp_path / "shared" / lease.archive).open("r+b") as archive:
        archive.write(b"damaged")
    for tried in range(1, TRIES + 2):
        result = pull(grid, planned, second, Options(report=False), leases=store)
        assert (result.to_json()["done"], result.to_json()["failed"]) == (1, 1)
        assert "expected SHA-256" in result.table.jobs[0].reason
        starts = LeaseTable(url, "look").look(planned[0].config_hash).starts
        assert starts == min(tried, TRIES)


@pytest.mark.parametrize("content", ["{", "[]", '{"status": "FINISHED"}'])
def test_a_result_of_another_version_fails_its_run_alone(tmp_path, url, content):
    first, second = homes(tmp_path)
    store = SharedStore(url, str(tmp_path / "shared"))
    grid, planned = plan_grid(TINY, first)
    table, run = LeaseTable(url, "another"), planned[0].config_hash
    table.finish(run, table.claim(run, TRIES), {})
    assert table._run(
        "UPDATE fl_leases SET content = :content WHERE run = :run", run=run, content=content
    )
    result = pull(grid, planned, second, Options(report=False), leases=store)
    assert result.to_json()["failed"] == 1
    assert "expected a result of this version" in result.table.jobs[0].reason


def test_a_run_of_another_process_in_this_workspace_is_left_to_it(tmp_path, url):
    first, _ = homes(tmp_path)
    store = SharedStore(url, str(tmp_path / "shared"))
    grid, planned = plan_grid(TINY, first)
    run = planned[0].config_hash
    with RunLock(run_folder(first, run).create().lock):
        result = pull(grid, planned, first, Options(report=False), leases=store)
    assert result.to_json()["results"][0]["state"] == "ELSEWHERE"
    assert LeaseTable(url, "look").look(run) is None  # not even claimed


def test_a_damaged_archive_is_refused_and_nothing_is_replaced(tmp_path):
    folder = run_folder(tmp_path / "from", RUN).create()
    folder.journal.write_text("{}\n")
    digest = pack(folder, tmp_path / "a.tar")
    there = run_folder(tmp_path / "to", RUN).create()
    there.journal.write_text("mine\n")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(RecordError, match="expected SHA-256"):
        unpack(tmp_path / "a.tar", "0" * 64, there, tmp_path / "scratch")
    assert there.journal.read_text() == "mine\n"
    unpack(tmp_path / "a.tar", digest, there, tmp_path / "scratch")
    assert there.journal.read_text() == "{}\n"
    assert there.path.stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_used_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"expected postgresql:// or sqlite://, got mysql"):
        LeaseTable("mysql://me:secret@host/x", "one")
    with pytest.raises(StoreError, match="cannot be used") as told:
        LeaseTable("postgresql://me:secret@nowhere.invalid/x", "one")
    assert "secret" not in str(told.value)
    with pytest.raises(StoreError, match="'port'"):
        LeaseTable("postgresql://me:secret@host:port/x", "one")
    with pytest.raises(ConfigError, match="expected a place for checkpoints"):
        leased_runs.served()
    (home,) = [next(homes(tmp_path))]
    said = CliRunner().invoke(cli.app, ["grid", "quick", "--leases", "x", "--home", str(home)])
    assert said.exit_code == 2
    assert "expected --worker" in " ".join(said.output.split())
