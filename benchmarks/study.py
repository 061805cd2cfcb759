"""Overhead of a study per trial, and two workers against two bare loops, in turns.

    python benchmarks/study.py --trials 6 --repeats 3

All cases make the same runs: the same points, two seeds per point. A bare loop is a forked process
that calls ``run`` on its half of the points, one after the other: the lower bound for parallel
trials. Workers and loops start from one parent that has imported all modules and loaded the data.
Wall seconds: run it on a quiet machine. The ratio is the time of the bare loops over that of the
workers; one bare loop over all points measures the gain of the second processor.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.interleaved import machine, write
from fl_platform.core.process import Stopper
from fl_platform.run.runner import run
from fl_platform.study.problem import Problem
from fl_platform.study.runner import assemble
from fl_platform.study.session import WorkerSession
from fl_platform.study.spec import Budget, StudySpec
from fl_platform.study.storage import open_storage
from fl_platform.study.trial_loop import Limits
from fl_platform.tracking.uploader import finish

REPOSITORY = Path(__file__).resolve().parents[1]
SEEDS = [0, 1]


def stage_of(home: Path, trials: int, rounds: int | None) -> Problem:
    """Study with trials that are fixed in advance, so that a bare loop can make the same runs."""
    points = [{"attack.nu": round(0.5 + number / trials, 6)} for number in range(trials)]
    plan = StudySpec(
        base=["attack=strike", "defense=multi_krum", "task=digits", "task.validation=0.2"],
        space={"attack.nu": {"low": 0.1, "high": 4.0}},
        direction="minimize",
        seeds=SEEDS,
        start=points,
        rounds=rounds,
        budget=Budget(trials=trials),
    )
    return assemble(plan, "benchmark", [], home, ())


def bare(problem: Problem, loops: int) -> list[Callable[[], None]]:
    """Bare loops; configurations are composed before the timing starts."""
    configs = [[problem.config(point, seed) for seed in SEEDS] for point in problem.start]

    def loop(part: int) -> None:
        for trial in configs[part::loops]:
            for config in trial:
                run(config, problem.home)

    return [functools.partial(loop, part) for part in range(loops)]


def work(problem: Problem) -> None:
    with Stopper() as stopper:
        session = WorkerSession(
            problem.home, open_storage(problem.home), stopper, Limits(), "journal"
        )
        study, objective = session.open(problem)
        session.work(study, objective)
        if session.trials == 0:
            raise RuntimeError("a worker had nothing to do")


def side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    children = []
    for job in jobs:
        child = os.fork()
        if child == 0:
            try:
                job()
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise RuntimeError("a child failed")


def overhead(problem: Problem) -> dict[str, float]:
    """Seconds of one worker: per trial outside its runs, for MLflow, and for the figures."""
    with Stopper() as stopper:
        session = WorkerSession(
            problem.home, open_storage(problem.home), stopper, Limits(trials=1), "mlflow"
        )
        study, objective = session.open(problem)
        session.work(study, objective)
        first = time.perf_counter()
        finish()  # the uploader imports MLflow and makes its store
        first = time.perf_counter() - first
        session.limits = Limits()
        session.work(study, objective)
        last = time.perf_counter()
        finish()
        last = time.perf_counter() - last
        began = time.perf_counter()
        session.publish(study, objective)
        return {
            "a trial outside its runs": (session.seconds - session.running) / session.trials,
            "a trial in its runs": session.running / session.trials,
            "waiting for the uploader after the first trial, new store": first,
            "waiting for the uploader after the last trial": last,
            "pictures and best.yaml, once": time.perf_counter() - began,
        }


@contextmanager
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf").symlink_to(REPOSITORY / "conf")
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rounds", type=int, help="else the task's own")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    with home() as place:
        work(stage_of(place, 1, 2))  # imports and data, inherited by every child
    ways: dict[str, Callable[[Problem], list[Callable[[], None]]]] = {
        "one bare loop": lambda problem: bare(problem, 1),
        "two bare loops": lambda problem: bare(problem, 2),
        "two workers": lambda problem: [functools.partial(work, problem)] * 2,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            with home() as place:
                jobs = way(stage_of(place, options.trials, options.rounds))
                before = time.perf_counter()
                side_by_side(jobs)
                times[name].append(time.perf_counter() - before)
    with home() as place:
        alone = overhead(stage_of(place, options.trials, options.rounds))
    middle = {name: statistics.median(values) for name, values in times.items()}
    ratios = [b / w for b, w in zip(times["two bare loops"], times["two workers"], strict=True)]
    report = {
        "trials": options.trials,
        "runs a trial": len(SEEDS),
        "one worker, seconds": {name: round(value, 3) for name, value in alone.items()},
        "seconds": {name: [round(v, 2) for v in values] for name, values in times.items()},
        "speed-up of two bare loops": middle["one bare loop"] / middle["two bare loops"],
        "speed-up of two workers": middle["one bare loop"] / middle["two workers"],
        "two workers over two bare loops, each repeat": [round(ratio, 3) for ratio in ratios],
        "two workers over two bare loops": statistics.median(ratios),
        "machine": machine(),
    }
    write(report, options.json)


if __name__ == "__main__":
    main()
