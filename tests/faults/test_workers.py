"""Workers with homes of their own over one database, killed at random: each run once, and equal."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from fl_platform.tracking.run_folder import all_runs
from tests.faults.conftest import make_home
from tests.faults.runs import SMALL

GRID = ["grid", "task=digits", "attack=mimic", "defense=centered_clipping", "rounds=60"]
GRID += [word for word in SMALL if not word.startswith("seed=")]
GRID += ["runtime.tracking=journal", "--no-report"]
LEASE = "1.5"  # seconds
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NO_SERVER = (
    "expected a server in /usr/lib/postgresql (apt-get install postgresql), found none. Not tested:"
    " leases in PostgreSQL while workers are killed twenty times; three kills used SQLite."
)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """A server of its own, without root's rights."""
    place = Path("/tmp") / f"fl-leases-{os.getpid()}"
    place.mkdir(mode=0o755)
    root = os.getuid() == 0
    alone = ["runuser", "-u", "postgres", "--"] if root else []
    if root:
        shutil.chown(place, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        command = [*alone, str(SERVERS[-1] / program), *arguments]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60)

    data = str(place / "data")
    try:
        call("initdb", "-D", data, "-U", "fl", "--auth=trust")
        options = f"-h 127.0.0.1 -p {port} -k {place} -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-l", str(place / "log"), "-o", options, "start")
        yield f"postgresql://fl@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*alone, str(SERVERS[-1] / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop"],
            cwd="/", check=False, stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        shutil.rmtree(place)


def rows(url: str) -> list[dict]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = [
            dict(row) for row in connection.execute(text("SELECT * FROM fl_leases")).mappings()
        ]
    engine.dispose()
    return [row for row in found if row["state"] != "parent"]


def numbers(result: dict) -> dict:
    """What must be equal: every number of a result but clocks and the run's id."""
    return {k: v for k, v in result.items() if k not in ("run_id", "seconds", "seconds_training")}


def disturb(zygote, tmp_path, chance, figure, url, *, runs, kills):
    """Two workers, killed and started again, until both leave; compared with a serial grid."""
    grid = [*GRID, f"seed=range(0,{runs})"]
    serial = make_home(tmp_path / "serial")
    calm = zygote.start(*grid, "--jobs", "1", "--home", str(serial), out=tmp_path)
    homes = [make_home(tmp_path / name) for name in ("one", "two")]

    def start(home):
        words = [*grid, "--worker", "--leases", url, "--artifacts", str(tmp_path / "shared")]
        words += ["--lease-seconds", LEASE, "--home", str(home)]
        patch = {"commit_every": 0.05, "tries": 100}
        return zygote.start(*words, out=tmp_path, patch=patch)

    assert calm.finish(600) == 0, calm.text
    at_work = {home: start(home) for home in homes}
    hit = 0
    while at_work:
        home = chance.choice(sorted(at_work))
        seconds = (0.5, 4) if hit else (0.2, 1)  # a fast machine must not finish before
        code = at_work[home].wait(chance.uniform(*seconds))
        if code is None and hit < kills:
            at_work[home].kill()
            code = at_work[home].finish()
        if code == -9:
            hit += 1
            at_work[home] = start(home)
        elif code is not None:
            assert code == 0, at_work[home].text
            del at_work[home]
    assert hit
    last = start(homes[0])  # what a worker left that was killed last
    assert last.finish(600) == 0, last.text
    found = rows(url)
    assert [row["state"] for row in found] == ["done"] * runs, found
    expected = {
        folder.describe()["config_hash"]: folder.result
        for folder in all_runs(serial)
        if folder.result_file.exists()
    }
    assert {row["run"] for row in found} == set(expected)
    for row in found:
        stored = json.loads(row["content"])
        assert stored["alarms"] == 0
        want = expected[row["run"]]
        assert {k: stored[k] for k in numbers(want)} == numbers(want)
        # the copy of the worker that finished it is in the shared place
        assert (tmp_path / "shared" / row["archive"]).is_file()
    name = url.partition(":")[0]
    figure("R9", f"{runs} runs over {name}, {hit} kills: all equal")


@pytest.fixture
def database(request, tmp_path):
    """PostgreSQL where it is installed, else SQLite, which takes the same statements."""
    if SERVERS:
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path}/leases.db"


def test_workers_killed_three_times_leave_each_run_once_and_equal(
    zygote, tmp_path, chance, figure, database
):
    disturb(zygote, tmp_path, chance, figure, database, runs=4, kills=3)


@pytest.mark.nightly
@pytest.mark.skipif(not SERVERS, reason=NO_SERVER)
def test_workers_killed_twenty_times_leave_each_run_once_and_equal(
    zygote, tmp_path, chance, figure, postgresql
):
    disturb(zygote, tmp_path, chance, figure, postgresql, runs=8, kills=20)
