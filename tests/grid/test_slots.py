"""Which process sees which GPU; the machine's own are never asked for here."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fl_platform import cli
from fl_platform.grid import local_executor as pool
from fl_platform.grid import worker
from fl_platform.grid import workers_per_gpu as sharing
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.runner import Options, plan_workers

TINY = ["task=digits", "rounds=1", "runtime.tracking=journal", "task.clients=10"]


def config(home, *overrides):
    return plan_grid([*TINY, *overrides], home)[1][0].config


@pytest.mark.parametrize(
    ("cards", "options", "device", "expected"),
    [
        (["0", "1"], Options(), "auto", (2, ["0", "1"])),
        (["0", "1"], Options(gpu_slots=3), "auto", (6, ["0", "1"])),
        (["0", "1"], Options(gpu_slots=3, jobs=1), "cuda", (1, ["0", "1"])),
        (["0"], Options(jobs=2), "cpu", (2, [])),
        ([], Options(jobs=2, gpu_slots=3), "auto", (2, [])),
    ],
)
def test_a_process_for_each_slot_of_each_card(home, monkeypatch, cards, options, device, expected):
    monkeypatch.setattr(pool, "gpus", lambda: cards)
    jobs, environments = plan_workers(config(home, f"runtime.device={device}"), options, home)
    seen = [environment["CUDA_VISIBLE_DEVICES"] for environment in environments if environment]
    assert (jobs, seen) == expected


@pytest.mark.parametrize(("named", "found"), [("0,GPU-7", ["0", "GPU-7"]), ("", []), ("-1", [])])
def test_only_the_cards_that_the_environment_leaves_are_used(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert pool.gpus() == found


def test_cells_run_where_their_slot_says(home, monkeypatch):
    """Four cells over two cards with two slots each: every process sees its own card alone."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, cells = plan_grid([*TINY, "seed=range(0,4)"], home)
    environments = [{"CUDA_VISIBLE_DEVICES": card} for card in ("a", "b")]
    monkeypatch.setattr(worker, "run_one", tell)
    monkeypatch.setattr(pool, "start_method", lambda: "fork")  # a fresh process lacks ``tell``
    table = JobTable.of(cells, home)
    with pool.LocalExecutor(home, 4, logs=home, environments=environments) as running:
        running.work(table, lambda _: None, lambda: False)
    told = [json.loads(job.reason.partition(": ")[2]) for job in table.of_state("failed")]
    assert len(dict(told)) == 4  # processes
    assert sorted(card for _, card in told) == ["a", "a", "b", "b"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def tell(config: object, home: Path, parent_run_id: str) -> tuple[str, str, str]:
    """In place of a run: who ran and which card it saw."""
    return "failed", "told: " + json.dumps([os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]]), ""


@pytest.mark.parametrize(
    ("free", "cores", "expected"), [(10.0, 18, 9), (10.0, 12, 6), (1.9, 16, 1), (0.1, 16, 1)]
)
def test_auto_takes_what_the_card_with_least_memory_and_the_cores_allow(
    home, monkeypatch, free, cores, expected
):
    """Free memory in multiples of what a run takes; two cards, so half of the cores each."""
    needed = sharing.memory_of(config(home), home)
    card = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetMemoryInfo=lambda it: SimpleNamespace(
            free=int(free * needed) + 1 if it == "GPU-7" else 10**15
        ),
    )
    monkeypatch.setitem(sys.modules, "pynvml", card)
    monkeypatch.setattr(pool, "gpus", lambda: ["0", "GPU-7"])
    monkeypatch.setattr(pool, "physical_cores", lambda: cores)
    jobs, environments = plan_workers(config(home), Options(gpu_slots=None), home)
    assert jobs == 2 * expected
    assert len(environments) == 2


def test_auto_is_one_where_nvml_does_not_tell(home, monkeypatch):
    def refuse():
        raise OSError("no driver")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=refuse))
    monkeypatch.setattr(pool, "gpus", lambda: ["0"])
    assert plan_workers(config(home), Options(gpu_slots=None), home)[0] == 1


@pytest.mark.parametrize("typed", ["0", "-1", "many", "1.5"])
def test_other_numbers_of_slots_are_refused(home, typed):
    told = CliRunner().invoke(cli.app, ["grid", "quick", "--gpu-slots", typed, "--home", str(home)])
    assert told.exit_code == 2
    assert "expected a number from 1 or auto" in " ".join(told.output.split())
