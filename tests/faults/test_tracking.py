"""R5: whatever MLflow's server or database does, training goes on and nothing is lost."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from fl_platform.tracking.journal import read
from fl_platform.tracking.mlflow.mlflow_exporter import RUN_TAG
from fl_platform.tracking.mlflow.names import valid_key
from fl_platform.tracking.mlflow.ui_view import shown_step
from fl_platform.tracking.run_folder import all_runs
from tests.faults.conftest import make_home
from tests.faults.runs import PAIRS, SMALL, kill_until_done, side_by_side
from tests.faults.zygote import Zygote

pytestmark = pytest.mark.nightly
NOW = {"patch": {"commit_every": 0.1}}


def command(home: Path, *more: str, seed: int = 0, rounds: int = 24) -> list[str]:
    chosen = [*PAIRS["mimic/rfa/fedavgm"], *SMALL[:-1], f"seed={seed}", f"rounds={rounds}"]
    return ["run", *chosen, "runtime.progress=none", *more, "--home", str(home)]


def stored(uri: str) -> dict[str, dict[str, Counter]]:
    """run id -> key -> how often each step is stored, asked in a process of its own."""
    script = (
        "import json, sys\n"
        "from mlflow.tracking.client import MlflowClient\n"
        "client = MlflowClient(sys.argv[1])\n"
        "found = {}\n"
        "for run in client.search_runs([e.experiment_id for e in client.search_experiments()],"
        " max_results=1000):\n"
        f"    found.setdefault(run.data.tags.get('{RUN_TAG}', ''), []).append("
        "{k: [p.step for p in client.get_metric_history(run.info.run_id, k)]"
        " for k in run.data.metrics})\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, uri], capture_output=True, text=True, check=True
    )
    runs = json.loads(done.stdout.splitlines()[-1])
    assert {len(copies) for copies in runs.values()} <= {1}, "a run was made twice"
    return {run: {k: Counter(v) for k, v in c[0].items()} for run, c in runs.items()}


def assert_all_stored(uri: str, *homes: Path) -> int:
    """Every journalled value is in the store, once; the number of values."""
    there, values = stored(uri), 0
    for folder in (folder for home in homes for folder in all_runs(home)):
        history = read(folder.journal)
        copy = there[folder.describe()["run_id"]]
        for key, points in history.metrics.items():
            steps = Counter(shown_step(key, step) for step in points)
            assert copy[valid_key(key)] == steps, (folder.path, key)
            values += len(points)
    return values


def sync(bare: Zygote, home: Path, out: Path, env: dict | None = None) -> None:
    child = bare.start("runs", "sync", "--home", str(home), out=out, env=env)
    assert child.finish(300) == 0, child.text


def test_kills_with_metrics_in_flight_lose_and_double_nothing(bare, home, tmp_path, chance, figure):
    uri = f"sqlite:///{home}/mlruns/mlflow.db"
    first = bare.start(*command(home, seed=9999), out=tmp_path, **NOW)
    assert first.finish() == 0, first.text  # makes the store
    longest, wanted = time.monotonic() - first.begun, int(os.environ.get("FL_FAULT_TRIALS", "50"))
    kills: list[int] = []

    def lane(number: int) -> None:  # two at a time, and neither waits for the other's last run
        choices = random.Random(f"{chance_of_lanes} {number}")
        for seed in itertools.count(1000 * number):
            if sum(kills) >= wanted:
                return
            line = command(home, seed=seed)
            done = kill_until_done(bare, line, choices, longest, out=tmp_path, most=4, **NOW)
            kills.append(done.kills)

    chance_of_lanes = chance.random()
    side_by_side(lane, range(2))
    sync(bare, home, tmp_path)
    values = assert_all_stored(uri, home)
    figure("R5", f"{sum(kills)} kills with metrics in flight, {values} values, 0 lost, 0 doubled")


def test_processes_that_start_on_an_empty_store_all_start(bare, tmp_path, figure):
    times = int(os.environ.get("FL_FAULT_STORES", "20"))
    for i in range(times):
        home = make_home(tmp_path / str(i))
        patch = {"connect_only": str(home)}
        children = [bare.start(out=tmp_path, patch=patch) for _ in range(8)]
        codes = [child.finish(300) for child in children]
        assert codes == [0] * 8, [child.text for child in children]
    figure("R5", f"8 processes on an empty store, {times} times: all started")


class Server:
    """A real ``mlflow server`` over a database of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)  # a server of somebody else's: there is nothing to wait on
        raise AssertionError("the server did not start")

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server") / "store")
    made.start()
    yield made
    made.stop()


class Nonsense(http.server.BaseHTTPRequestHandler):
    """Answers everything with what the path's first part asks for."""

    def do_GET(self) -> None:
        code = int(self.path.split("/")[1]) if self.path.split("/")[1].isdigit() else 200
        body = b"\x00{<html>garbage"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - named by the base class

    def log_message(self, *_: object) -> None:
        pass


def seconds_of(child) -> float:
    code = child.finish(300)
    assert code == 0, child.text
    return time.monotonic() - child.begun


def test_a_server_that_fails_in_any_way_delays_no_run(bare, server, tmp_path, figure):
    """Killed mid-run, stopped mid-run, refusing, hanging, 500, garbage: five seconds at most."""
    trials: dict[str, tuple[Path, float]] = {}
    calm = make_home(tmp_path / "calm")
    quiet = bare.start(*command(calm, "runtime.tracking=journal"), out=tmp_path, **NOW)
    usual = seconds_of(quiet)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense) as stub, socket.socket() as s:
        child = os.fork()
        if child == 0:
            stub.serve_forever()
        s.bind(("127.0.0.1", 0))
        s.listen()  # takes calls and never answers
        stub_uri = f"http://127.0.0.1:{stub.server_address[1]}"
        bad = {
            "answers 500": f"{stub_uri}/500",
            "answers 429": f"{stub_uri}/429",
            "answers garbage": f"{stub_uri}/200",
            "never answers": f"http://127.0.0.1:{s.getsockname()[1]}",
            "is not there": "http://127.0.0.1:9",
        }
        try:
            for name, uri in bad.items():
                home = make_home(tmp_path / name)
                env = {"MLFLOW_TRACKING_URI": uri}
                run = bare.start(*command(home), out=tmp_path, env=env, **NOW)
                trials[name] = (home, seconds_of(run))
                assert "runs sync" in run.text, (name, run.text)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    env = {"MLFLOW_TRACKING_URI": server.uri}
    for name, number in {"is stopped": signal.SIGSTOP, "is killed": signal.SIGKILL}.items():
        home = make_home(tmp_path / name)
        run = bare.start(*command(home), out=tmp_path, env=env, **NOW)
        while run.wait(0.02) is None:
            if any(f.forwarded.exists() for f in all_runs(home)):  # in the middle of its records
                server.signal(number)
                break
        trials[name] = (home, seconds_of(run))
        if number == signal.SIGSTOP:
            server.signal(signal.SIGCONT)
    server.stop()
    server.start()

    for home, _ in trials.values():
        (folder,) = all_runs(home)
        assert read(folder.journal).status == "FINISHED"
        sync(bare, home, tmp_path, env)
    values = assert_all_stored(server.uri, *(home for home, _ in trials.values()))
    delays = {name: seconds - usual for name, (_, seconds) in trials.items()}
    worst = max(delays, key=delays.__getitem__)
    assert delays[worst] < 5 + usual + 5, delays  # five of draining, and the machine's own spread
    figure(
        "R5",
        f"{len(trials)} kinds of outage: at most {delays[worst]:.1f} s more ({worst}),"
        f" {values} values complete after sync",
    )


def test_the_page_answers_this_user_on_this_machine_only(home, tmp_path, figure):
    """S4: the command that the verb `ui` runs, started for real."""
    from fl_platform.tracking.mlflow import store
    from fl_platform.tracking.mlflow.ui import SAFE_FOLDER, ui_command
    from fl_platform.tracking.mlflow.ui_login import VARIABLE

    script = "import sys; from fl_platform.tracking.mlflow import store; store.connect(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(home)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments, environment = ui_command(home, port)
    page = subprocess.Popen(
        arguments, env=environment, cwd=SAFE_FOLDER, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"

    def ask(path: str, host: str | None = None, data: bytes | None = None, **more: str) -> int:
        headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
        headers |= more or {"Authorization": f"Bearer {environment[VARIABLE]}"}
        try:
            request = urllib.request.Request(f"{base}{path}", data, headers)
            return urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            return error.code

    try:
        for _ in range(1200):
            try:
                if ask("/health") == 200:
                    break
            except OSError:
                time.sleep(0.1)
        search = "/api/2.0/mlflow/experiments/search"
        assert ask(search, data=b'{"max_results": 1}') == 200
        for foreign in ("evil.example", "evil.example:80", f"127.0.0.1.evil.example:{port}"):
            assert ask(search, foreign, b'{"max_results": 1}') == 403
        for path in ("/", search, "/ajax-api/2.0/mlflow/experiments/delete", "/get-artifact"):
            assert ask(path, data=b"{}", Authorization="Bearer other") == 401
        if os.getuid() == 0:  # somebody else on this machine, as faults are found there
            script = (
                "import sys, urllib.request, urllib.error\n"
                "try: urllib.request.urlopen(sys.argv[1], timeout=20)\n"
                "except urllib.error.HTTPError as e: print(e.code)"
            )
            address = f"{base}{search}?max_results=1"
            line = ["/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", script, address]
            other = subprocess.run(line, user=65534, cwd="/", capture_output=True, check=False)
            assert other.stdout == b"401\n" or b"Permission denied" in other.stderr, other
            secret = f"/proc/{page.pid}/environ"
            told = subprocess.run(["cat", secret], user=65534, capture_output=True, check=False)
            assert told.returncode != 0
        job = b'{"job_name": "x", "params": {}}'
        jobs = {path: ask(path, data=job) for path in ("/ajax-api/3.0/jobs", "/ajax-api/3.0/jobs/")}
        assert not [code for code in jobs.values() if code < 400], jobs
        hexed = f"{port:04X}"
        lines = [
            line.split()[1]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(table).read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{hexed}") and line.split()[3] == "0A"
        ]
        assert lines == [f"0100007F:{hexed}"]
        assert store.database(f"sqlite:///{home}/mlruns/mlflow.db").stat().st_mode & 0o077 == 0
        figure("S4", "127.0.0.1 alone, 401 without token, foreign hosts 403, no job taken")
    finally:
        os.killpg(page.pid, signal.SIGKILL)
        page.wait()
