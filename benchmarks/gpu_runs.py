"""Whole runs of the paper's CIFAR-10 setting on a GPU, alone and several at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.card import RUNTIME, Watch
from benchmarks.round import ALEXNET, synthetic
from fl_platform.config import Config, compose, config_hash
from fl_platform.federated.sampling import byzantine_clients
from fl_platform.grid.jobs import JobTable
from fl_platform.grid.local_executor import LocalExecutor, warm_up
from fl_platform.grid.runner import plan_grid
from fl_platform.models.size import work_per_image
from fl_platform.run.build import build_model, load_population
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

Record = dict[str, Any]
ROUNDS = 200  # of the paper's CIFAR-10 setting
LONGEST = 70.0  # seconds of runs at a time


def said(home: Path, device: str, dry: bool, data: Sequence[str] = ()) -> list[str]:
    """Overrides of the setting: STRIKE against Multi-Krum, 50 clients, Dirichlet partition.

    Without ``data`` (an override such as ``task.data.root=DATA``) random images of CIFAR-10's
    shape and number replace the data: the same amount of work.
    """
    given = ["task=cifar10", *data] if data else [*synthetic(home, 2 if dry else 1000)]
    if not data and not dry:
        given += ALEXNET
    if dry:
        given.append("task.minimum=1")
    quiet = ["runtime.tracking=journal", "runtime.progress=none", f"runtime.device={device}"]
    return [*given, "attack=strike", "defense=multi_krum", *quiet]


def images_per_round(config: Config, home: Path) -> tuple[int, float]:
    """Images per round of the honest clients, and operations per image."""
    population = load_population(config, home)
    clients = population.federation.clients
    bad = set(byzantine_clients(len(clients), config.byzantine.fraction, config.seed))
    images = sum(len(own) for i, own in enumerate(clients) if i not in bad)
    model = build_model(config, population.dataset)
    operations = work_per_image(model, population.dataset.image_shape).training
    return images * config.task.local.epochs, operations


def whole_run(
    typed: Sequence[str], home: Path, rate: str, rounds: int, way: Callable[[], str]
) -> Iterator[Record]:
    """A tracked run from start to end, or to the time limit of the part."""
    asked = [*typed, f"rounds={rounds}", f"runtime.precision={RUNTIME[rate]}"]
    config = compose([*asked, f"runtime.local={way()}", "runtime.fresh=true"], home)
    images, operations = images_per_round(config, home)
    before = time.perf_counter()
    with Watch() as card:
        result = run(config, home)
    spent = time.perf_counter() - before
    seconds = pace(config, home, result.config_hash)
    record = {
        "way": way(),
        "precision": rate,
        "status": result.status,
        "rounds": result.rounds,
        "seconds": round(spent, 2),
        "seconds a round": seconds,
        "images/s": round(images / seconds),
        "TFLOP/s of training": round(images * operations / seconds / 1e12, 2),
        "ms a round by phase": phases(config, home, result.config_hash),
        **card.seen,
    }
    if result.rounds < rounds:
        record[f"seconds of {rounds} rounds, extrapolated"] = round(
            spent + (rounds - result.rounds) * seconds, 1
        )
    yield record


def repeated(
    typed: Sequence[str], home: Path, rounds: int, way: Callable[[], str]
) -> Iterator[Record]:
    """The same deterministic run twice: compares the bits of the final weights."""
    asked = [*typed, f"rounds={rounds}", f"runtime.local={way()}", "runtime.deterministic=true"]
    config = compose([*asked, "runtime.fresh=true"], home)
    first, second = (run(config, home) for _ in range(2))
    yield {
        "way": way(),
        "same weights": first.weights_sha256 == second.weights_sha256,
        "rounds": first.rounds,
        "seconds a round": pace(config, home, first.config_hash),
    }


def sharing(
    typed: Sequence[str],
    home: Path,
    rate: str,
    rounds: int,
    beside: int,
    way: Callable[[], str],
) -> Iterator[Record]:
    """Several runs at a time on one GPU, each in a worker process of the grid.

    After ``LONGEST`` seconds the runs stop; their pace is then measured over fewer rounds.
    """
    asked = [f"runtime.precision={RUNTIME[rate]}", f"runtime.local={way()}", f"rounds={rounds}"]
    seeds = f"seed=range({beside},{2 * beside})"
    _, cells = plan_grid([*typed, *asked, "runtime.fresh=true", seeds], home)
    table = JobTable.of(cells, home)
    warm_up(home, table.jobs[0])
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    end = time.monotonic() + LONGEST
    with Watch() as card, LocalExecutor(home, beside, logs=logs) as pool:
        pool.work(table, lambda _: None, lambda: time.monotonic() > end)
    if failed := table.of_state("failed"):
        raise RuntimeError(failed[0].reason)
    paces = [pace(cell.config, home, cell.config_hash) for cell in cells]
    yield {
        "way": way(),
        "precision": rate,
        "at a time": beside,
        "rounds": min(job.round or _rounds(job.planned.config, home) for job in table.jobs),
        "seconds a round": round(statistics.fmean(paces), 4),
        "runs of 200 rounds an hour, extrapolated, start not included": round(
            sum(3600 / (ROUNDS * seconds) for seconds in paces)
        ),
        **card.seen,
    }


def _rounds(config: Config, home: Path) -> int:
    return len(read(run_folder(home, config_hash(config)).journal).metrics["round/loss"])


def pace(config: Config, home: Path, identity: str) -> float:
    """Wall seconds per round, without the first round."""
    losses = read(run_folder(home, identity).journal).metrics["round/loss"]
    times = [losses[step].time for step in sorted(losses)]
    return round((times[-1] - times[0]) / max(1, len(times) - 1), 4)


def phases(config: Config, home: Path, identity: str) -> dict[str, float]:
    """Median milliseconds per phase; a phase includes unfinished GPU work of earlier phases."""
    metrics = read(run_folder(home, identity).journal).metrics
    return {
        name.removeprefix("time/"): round(
            1e3 * statistics.median(point.value for point in points.values()), 2
        )
        for name, points in metrics.items()
        if name.startswith("time/") and not name.startswith("time/seconds")
    }
