"""Two runs side by side against two bare tensor loops side by side, in the same minute.

    python benchmarks/beside.py --repeats 5

The gain of a second processor depends on the machine (shared caches, memory, clock,
hyper-threads). The bare loop of ``benchmarks/local.py`` measures it: the throughput of two loops
at a time over that of one. The figure is the gain of two runs over the gain of two bare loops, for
local training and for whole runs. Wall seconds of forked processes that start together, the four
cases in turns, medians. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.interleaved import machine, write
from benchmarks.local import SETTINGS, SGD, Setting, bare_loop, federation
from fl_platform.config import Config, compose
from fl_platform.federated.client_training import Clients
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[1]
Work = Callable[[], tuple[float, float]]  # seconds of local training, and of all
CLIENTS = {"digits": (50, 80), "femnist": (10, 100)}  # and images of each
ROUNDS = {"digits": (8, 150), "femnist": (4, 4)}  # of the bare loop and of the run: seconds alike


def settings(name: str) -> Setting:
    clients, images = CLIENTS[name]
    return replace(SETTINGS[name], clients=clients, images=images)


def data(folder: Path, setting: Setting) -> None:
    """Data set with the images of the bare loop."""
    samples = federation(setting).samples
    images = samples.inputs.numpy().transpose(0, 2, 3, 1)
    labels = samples.targets.numpy()
    few = slice(setting.classes)
    np.savez(
        folder / "arrays.npz",
        train_images=images, train_labels=labels, test_images=images[few], test_labels=labels[few],
        writers=np.arange(len(labels)) // setting.images,
    )  # fmt: skip


def configured(setting: Setting, home: Path, rounds: int) -> Config:
    """Run with the network, clients, batches and steps of the bare loop."""
    target = f"fl_platform.models.{setting.model.__name__}"
    network = [f"task.model._target_={target}"]
    if setting.model.__name__ != "mlp":
        network.append("~task.model.hidden")
    same = [f"task.local.batch={setting.batch}", f"task.local.lr={SGD.lr}", f"rounds={rounds}"]
    here = [f"task.data.root={home}", "runtime.tracking=journal", "runtime.progress=none"]
    alone = ["task=arrays", "task.partition=writer", "task.clients=null", "runtime.device=cpu"]
    return compose([*alone, *network, *same, *here, "defense=multi_krum"], home)


def run_once(config: Config) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        before = time.perf_counter()
        result = run(config, Path(name))
        whole = time.perf_counter() - before
        local = read(run_folder(Path(name), result.config_hash).journal).metrics["time/local"]
        return sum(point.value for point in local.values()), whole


def bare_once(setting: Setting, rounds: int) -> tuple[float, float]:
    torch.manual_seed(0)
    model = setting.model(setting.classes, setting.shape)
    loop = bare_loop(
        model, Clients(federation(setting), replace(SGD, batch=setting.batch)), setting.clients
    )
    before = time.perf_counter()
    for _ in range(rounds):
        loop()
    seconds = time.perf_counter() - before
    return seconds, seconds


def together(work: Work, count: int) -> tuple[float, float]:
    """Mean seconds of ``count`` processes that do ``work`` at the same time."""
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(count), context.SimpleQueue()

    def one() -> None:
        barrier.wait()
        told.put(work())

    processes = [context.Process(target=one) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process ended with exit code {process.exitcode}")
    found = [told.get() for _ in processes]
    return statistics.mean(f[0] for f in found), statistics.mean(f[1] for f in found)


def measure(name: str, share: float, repeats: int) -> dict[str, Any]:
    setting = settings(name)
    loops, rounds = (max(1, round(share * count)) for count in ROUNDS[name])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "conf").symlink_to(REPOSITORY / "conf")
        data(home, setting)
        config = configured(setting, home, rounds)
        kinds: dict[str, Work] = {
            "bare": partial(bare_once, setting, loops),
            "run": partial(run_once, config),
        }
        seconds: dict[str, list[tuple[float, float]]] = {}
        for repeat in range(repeats + 1):
            for kind, work in kinds.items():
                for count in (1, 2):
                    found = together(work, count)
                    if repeat:
                        seconds.setdefault(f"{kind} x {count}", []).append(found)

    def gain(kind: str, part: int) -> float:
        """Throughput of two at a time over that of one."""
        pairs = zip(seconds[f"{kind} x 1"], seconds[f"{kind} x 2"], strict=True)
        return statistics.median(2 * one[part] / two[part] for one, two in pairs)

    bare, local, whole = gain("bare", 0), gain("run", 0), gain("run", 1)
    return {
        "loops": loops,
        "rounds": rounds,
        "seconds": {k: [round(all_, 3) for _, all_ in v] for k, v in seconds.items()},
        "gain of two bare loops": round(bare, 3),
        "gain of two runs, local training": round(local, 3),
        "gain of two runs, whole": round(whole, 3),
        "local training over bare": round(local / bare, 3),
        "whole over bare": round(whole / bare, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CLIENTS, default=["femnist", "digits"])
    parser.add_argument("--share", type=float, default=1.0, help="of the usual rounds")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(name, asked.share, asked.repeats) for name in asked.only}
    write({"machine": machine(), **found}, asked.json)


if __name__ == "__main__":
    main()
