"""A journal file and a gRPC proxy hold a study as the database does: budget, death, resumption."""

import datetime
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from fl_platform.core.process import Stopper
from fl_platform.study.problem import open_study
from fl_platform.study.runner import tune
from fl_platform.study.shared_storage import LAST_SEEN, RETRIES, AttributeHeartbeat, JournalFile
from fl_platform.study.storage import artifact_folder, open_storage, origin, recover
from fl_platform.tracking.mlflow.store import StoreError
from tests.study.fake import install, make_problem, run_worker
from tests.study.test_faults import in_child, states

TYPED = ["task=digits", "defense=multi_krum", "runtime.tracking=journal"]


@pytest.fixture
def journal(home):
    return home / "studies.journal"


@pytest.fixture
def grpc_server(home):
    """Optuna's proxy server over the studies of ``home``; its address."""
    from optuna.storages import get_storage
    from optuna.storages._grpc.server import make_server

    open_storage(home)
    kept = get_storage(f"sqlite:///{home / 'mlruns' / 'optuna.db'}")
    server = make_server(kept, "127.0.0.1", 0, ThreadPoolExecutor(4))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}", server
    server.stop(None)


def age(journal):
    """Make every sign of life in the journal an hour older."""
    lines = []
    for line in journal.read_text().splitlines():
        record = json.loads(line)
        if LAST_SEEN in record.get("system_attr", {}):
            record["system_attr"][LAST_SEEN] -= 3600
        if record.get("datetime_start"):
            start = datetime.datetime.fromisoformat(record["datetime_start"])
            record["datetime_start"] = (start - datetime.timedelta(hours=1)).isoformat()
        lines.append(json.dumps(record))
    journal.write_text("\n".join(lines) + "\n")


def die(config):
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_processes_on_one_journal_meet_the_budget_exactly(home, journal, monkeypatch):
    install(monkeypatch)
    problem, url = make_problem(home, trials=12), f"journal://{journal}"
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                run_worker(problem, storage=open_storage(home, url))
            except BaseException:
                os._exit(3)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    study = open_study(problem, open_storage(home, url))
    assert states(study) == {"COMPLETE": 12}
    assert journal.stat().st_mode & 0o777 == 0o600
    assert not (home / "mlruns" / "optuna.db").exists()


@pytest.mark.parametrize("torn", [False, True])
def test_a_trial_that_kills_every_worker_of_a_journal_is_retried_three_times(
    home, journal, monkeypatch, torn
):
    problem = make_problem(home, trials=2, start=[{"attack.nu": 3.5}])
    install(monkeypatch, before=lambda c: die(c) if c.attack["nu"] == 3.5 else None)
    url = f"journal://{journal}"
    for _ in range(1 + RETRIES):
        work = lambda: run_worker(problem, storage=open_storage(home, url))  # noqa: E731
        assert in_child(work) == -signal.SIGKILL
        age(journal)
        if torn:  # it was killed while it wrote
            with journal.open("a") as file:
                file.write('{"op_code":8,"worker_')
    study, _, _ = run_worker(problem, storage=open_storage(home, url))
    assert states(study) == {"FAIL": 1 + RETRIES, "COMPLETE": 2}
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert {origin(trial) for trial in failed} == {0}
    assert {trial.params["attack.nu"] for trial in failed} == {3.5}


def test_a_line_that_is_torn_while_others_wait_to_write_is_removed(journal):
    """The writer is killed after the next one has come, and before that one has the lock."""
    first, second = JournalFile(journal), JournalFile(journal)
    first.append_logs([{"number": 0}])
    first._lock.acquire()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(second.append_logs, [{"number": 1}])
        time.sleep(0.05)  # the second one waits
        with journal.open("a") as file:
            file.write('{"numb')
        first._lock.release()
        written.result(timeout=30)
    assert list(JournalFile(journal).read_logs(0)) == [{"number": 0}, {"number": 1}]
    assert list(first.read_logs(1)) == [{"number": 1}]


def test_a_worker_of_a_journal_that_is_alive_keeps_its_trial(home, journal, monkeypatch):
    """The negative control: only silence makes a trial stale, and a retry begins without a past."""
    problem, url = make_problem(home, trials=3), f"journal://{journal}"
    with monkeypatch.context() as patch:
        install(patch, before=die)
        work = lambda: run_worker(problem, storage=open_storage(home, url))  # noqa: E731
        assert in_child(work) == -signal.SIGKILL
    study = open_study(problem, open_storage(home, url))
    assert LAST_SEEN in study.trials[0].system_attrs
    recover(study)
    assert states(study) == {"RUNNING": 1}
    age(journal)
    study = open_study(problem, open_storage(home, url))
    recover(study)
    assert states(study) == {"FAIL": 1, "WAITING": 1}
    assert LAST_SEEN not in study.trials[1].system_attrs
    recover(study)
    assert states(study) == {"FAIL": 1, "WAITING": 1}


def test_a_long_run_sends_heartbeats_until_its_end(home, journal, monkeypatch):
    beats, record = [], AttributeHeartbeat.record_heartbeat

    def noted(self, trial_id):
        record(self, trial_id)
        beats.append(trial_id)

    def wait(config):
        while len(beats) < 2:
            time.sleep(0.01)

    monkeypatch.setattr(AttributeHeartbeat, "record_heartbeat", noted)
    install(monkeypatch, before=wait)
    storage = open_storage(home, f"journal://{journal}", heartbeat=1)
    study, _, _ = run_worker(make_problem(home, trials=1), storage=storage)
    assert states(study) == {"COMPLETE": 1}
    assert len(beats) >= 2


def test_a_stopped_worker_of_a_journal_returns_its_trial(home, journal, monkeypatch):
    problem, url = make_problem(home, trials=2), f"journal://{journal}"
    with Stopper() as stopper, monkeypatch.context() as patch:
        install(patch, before=lambda c: os.kill(os.getpid(), signal.SIGTERM))
        study, _, _ = run_worker(problem, storage=open_storage(home, url), stopper=stopper)
    assert states(study) == {"FAIL": 1, "WAITING": 1}
    left = study.trials[0].params
    install(monkeypatch)
    study, _, _ = run_worker(problem, storage=open_storage(home, url))
    assert states(study) == {"FAIL": 1, "COMPLETE": 2}
    assert study.trials[1].params == left


@pytest.mark.parametrize("how", ["garbled", "shortened", "deleted"])
def test_a_journal_that_fails_inside_a_study_is_told_in_one_line(home, journal, monkeypatch, how):
    def spoil(config):
        if how == "garbled":
            with journal.open("a") as file:
                file.write("no journal\n" * 2)
        elif how == "shortened":
            journal.write_text("")
        else:
            journal.unlink()

    install(monkeypatch, before=spoil)
    with pytest.raises(StoreError, match=r"does not answer: .*studies\.journal") as told:
        tune("strike_nu", TYPED, home, trials=1, storage=f"journal://{journal}")
    assert "\n" not in str(told.value)


def test_the_end_names_the_page_over_the_same_storage(home, journal, monkeypatch, capsys):
    install(monkeypatch)
    url = f"journal://{journal}"
    tune("strike_nu", TYPED, home, trials=1, storage=url)
    assert f"fl-platform ui --studies --storage {url}\n" in capsys.readouterr().out
    from fl_platform.study.runner import show

    show("strike_nu", home, storage=url)
    assert "1 complete" in capsys.readouterr().out


ALL = "sqlite:///FILE, postgresql"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("journal://studies.log", "expected journal:///absolute/path"),
        ("journal:///nowhere/at/all", "No such file or directory: /nowhere/at/all"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("studies.db", ALL),
        ("redis://here", ALL),
        ("mongodb://me:secret@here/x", ALL),
        ("postgresql+none://me:secret@here/x", "the extra 'postgres'"),
        ("grpc://", "expected grpc://HOST:PORT"),
        ("grpc://here:port", "expected grpc://HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_opened_names_what_is_expected(home, url, told):
    with pytest.raises(StoreError) as refused:
        open_storage(home, url)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_of_something_else_is_no_journal(home, journal):
    journal.write_text("a\nb\nc\n")
    with pytest.raises(StoreError, match="no whole journal of Optuna"):
        open_storage(home, f"journal://{journal}")


def test_grpc_without_its_package_names_the_extra(home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"grpcio.*pip install 'fl_platform\[grpc\]'"):
        open_storage(home, "grpc://127.0.0.1:1")


def test_a_proxy_that_is_not_there_is_named(home, monkeypatch):
    monkeypatch.setattr("fl_platform.study.shared_storage.GRPC_WAIT", 0.2)
    with pytest.raises(StoreError, match=r"grpc://127\.0\.0\.1:1: no server answers"):
        open_storage(home, "grpc://127.0.0.1:1")


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_worker_at_the_database_leaves_a_trial_behind_the_proxy_that_is_alive(home, grpc_server):
    url, _ = grpc_server
    problem = make_problem(home)
    remote = open_study(problem, open_storage(home, url))
    asked = remote.ask()
    time.sleep(1.1)  # longer than the grace period since its start
    remote._storage.record_heartbeat(asked._trial_id)
    local = open_study(problem, open_storage(home, grace=1))
    recover(local)
    assert states(local) == {"RUNNING": 1}
    remote._storage.set_trial_system_attr(asked._trial_id, LAST_SEEN, time.time() - 3600)
    recover(local)
    assert states(local) == {"FAIL": 1, "WAITING": 1}


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_study_behind_a_proxy_survives_a_silent_worker(home, grpc_server, monkeypatch):
    url, _ = grpc_server
    install(monkeypatch)
    problem = make_problem(home, trials=4)
    study, _, _ = run_worker(problem, trials=2, storage=open_storage(home, url))
    assert states(study) == {"COMPLETE": 2}
    lost = study.ask()  # a worker that begins a trial and is heard no more
    study._storage.record_heartbeat(lost._trial_id)
    recover(study)
    assert states(study) == {"COMPLETE": 2, "RUNNING": 1}
    study._storage.set_trial_system_attr(lost._trial_id, LAST_SEEN, time.time() - 3600)
    study, _, _ = run_worker(problem, storage=open_storage(home, url))
    assert states(study) == {"COMPLETE": 4, "FAIL": 1}
    study._storage.record_heartbeat(lost._trial_id)  # too late, and no error
    local = optuna.load_study(study_name="study", storage=open_storage(home))
    assert [trial.params for trial in local.trials] == [trial.params for trial in study.trials]


def test_a_proxy_that_ends_inside_a_study_is_told_in_one_line(home, grpc_server, monkeypatch):
    url, server = grpc_server
    install(monkeypatch, before=lambda config: server.stop(None).wait())
    with pytest.raises(StoreError, match="does not answer") as told:
        tune("strike_nu", TYPED, home, trials=1, storage=url)
    assert "\n" not in str(told.value)


def test_a_journal_named_with_four_slashes_is_the_same_file(home, journal):
    for url in (f"journal://{journal}", f"journal:///{journal}"):
        assert str(artifact_folder(home, open_storage(home, url))) == f"{journal}.artifacts"
