"""The GPU script's code on a CPU; its figures are of no interest here."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from benchmarks import gpu, gpu_parts
from benchmarks.apart import apart


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "conf").symlink_to(gpu.REPOSITORY / "conf")
    found: list[dict] = []
    todo = gpu.parts("cpu", True, home, [], found)
    gpu.measure(todo, home / "gpu.jsonl", found, limit=9000)
    return todo, found, (home / "gpu.jsonl").read_text()


def of(found, part):
    return [record for record in found if record["part"].startswith(part)]


def test_the_dry_run_goes_through_every_part(dry):
    todo, found, written = dry
    assert [record for record in found if "failed" in record] == []
    assert {record["part"] for record in found} == set(todo)
    assert len(written.splitlines()) == len(found)
    trained = of(found, "training")
    assert {r["network"] for r in trained} == {"alexnet", "femnist", "digits"}
    assert {r["way"] for r in trained} == set(gpu_parts.ways("cpu"))
    assert all(record["images/s"] > 0 for record in trained)
    assert of(found, "one run")[0]["status"] == "FINISHED"
    assert of(found, "2 runs at a time")[0]["at a time"] == 2
    assert of(found, "deterministic mode")[0]["same weights"]
    assert of(found, "the authors' loop")[0]["seconds a round, authors' loop"] > 0


def test_updates_of_every_way_are_those_of_float64(dry):
    compared = of(dry[1], "updates against the CPU")
    assert len(compared) == 3 * len(gpu_parts.ways("cpu"))
    assert all(record["relative difference"] < 1e-4 for record in compared)


def test_the_comparison_notices_another_way_to_train(monkeypatch):
    made = gpu_parts.build_way

    def longer(name, model, clients):
        if name == "vmapped":
            clients.settings.__dict__["lr"] = 0.02
        return made(name, model, clients)

    monkeypatch.setattr(gpu_parts, "build_way", longer)
    found = {r["way"]: r for r in gpu_parts.difference("digits", "cpu", dry=True)}
    assert found["vmapped"]["relative difference"] > 0.1


def test_a_way_that_fails_costs_no_other_figure(monkeypatch):
    made = gpu_parts.build_way

    def fails(name, model, clients):
        if name == "channels_last":
            raise MemoryError("too large")
        return made(name, model, clients)

    monkeypatch.setattr(gpu_parts, "build_way", fails)
    found = list(gpu_parts.training("digits", "float32", "cpu", dry=True))
    failed = {r["way"] for r in found if "failed" in r}
    assert failed == {"channels_last"}
    assert {r["way"] for r in found if "images/s" in r} == set(gpu_parts.ways("cpu")) - failed


def test_the_whole_run_takes_the_way_that_was_fastest():
    def found(network, way, speed, rate="TF32"):
        about = {"network": network, "way": way, "precision": rate, "shares": "dirichlet"}
        return {**about, "images/s": speed}

    records = [
        found("digits", "vmapped", 900),
        found("alexnet", "sequential", 5),
        found("alexnet", "vmapped", 8),
        found("alexnet", "graphed", 20, "float32"),
        {"network": "alexnet", "way": "graphed", "precision": "TF32", "failed": "illegal address"},
    ]
    assert gpu.fastest(records, "TF32") == "vmapped"
    assert gpu.fastest(records, "bf16") == "auto"


def test_a_part_that_fails_or_dies_says_so_and_keeps_what_it_found():
    def raises():
        yield {"first": 1}
        raise RuntimeError("out of memory")

    def dies():
        yield {"first": 1}
        os._exit(7)

    for part, why in ((raises, "RuntimeError: out of memory"), (dies, "ended with exit code 7")):
        heard: list[dict] = []
        assert apart(part, 60, heard.append) == f"failed: {why}"
        assert heard == [{"first": 1}]
    assert apart(lambda: iter([{"found": 1}]), 60, heard.append) == ""


def hangs():
    """Deaf to SIGTERM, with a child in a process group of its own that is deaf too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        time.sleep(600)
    yield {"child": child, "own": os.getpid()}
    time.sleep(600)


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_part_that_hangs_is_killed_with_all_it_started_and_the_table_is_printed(tmp_path):
    found: list[dict] = []
    todo = {"hangs": (1.0, hangs), "next": (60.0, lambda: iter([{"seen": 5}]))}
    gpu.measure(todo, tmp_path / "out", found, grace=0.3)
    told = found[0]
    assert gone(told["child"])
    assert gone(told["own"])
    assert found[1:] == [
        {"part": "hangs", "failed": "stopped after its limit of 1 s"},
        {"part": "next", "seen": 5},
    ]
    printed = gpu.table(found)
    assert "next: seen 5" in printed
    assert printed.endswith("! hangs: stopped after its limit of 1 s")


def test_what_a_part_leaves_behind_is_killed_too():
    def leaves():
        child = os.fork()
        if child == 0:
            time.sleep(600)
        yield {"child": child}

    heard: list[dict] = []
    assert apart(leaves, 60, heard.append) == ""
    assert gone(heard[0]["child"])


def test_without_time_parts_are_named_as_left_out(tmp_path):
    found: list[dict] = []
    gpu.measure({"late": (60.0, hangs)}, tmp_path / "out", found, limit=0)
    assert found == [{"part": "late", "failed": "left out: the time is up"}]


def test_asked_to_end_the_script_prints_its_table_and_leaves_nothing(tmp_path):
    out = tmp_path / "gpu.jsonl"
    command = [sys.executable, "benchmarks/gpu.py", "--dry", "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--only", "machine|training, alexnet"],
        cwd=gpu.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not out.exists() and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert printed.startswith("machine: ")
    assert all(gone(child.pid) for child in children)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu_nothing_is_measured(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="not measured"):
        gpu.main()
