"""Time profile of one CIFAR-10 round: STRIKE against Multi-Krum, one thread.

    python benchmarks/round.py                        # synthetic images, 1,000 per client
    python benchmarks/round.py task.data.root=DATA    # the real ones, from DATA/cifar10
    python benchmarks/round.py --images 100 --json round.json

Runs two rounds of the unchanged program and reports processor seconds of the second. Overrides are
accepted, such as runtime.local=sequential or runtime.evaluation_batch=1000. The *overhead* is
everything except the steps of local SGD (without reading batches) and the evaluation.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import fl_platform.run.runner as story
from benchmarks.interleaved import machine, write
from fl_platform.config import compose
from fl_platform.federated import Aggregator, FederatedModule
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.federated.client_training.sequential import Sequential

REPOSITORY = Path(__file__).resolve().parents[1]
PHASES: list[tuple[str, Any, str]] = [
    ("local steps", Sequential, "_step"),
    ("local training", Sequential, "train"),
    ("attack", FederatedModule, "_attack"),
    ("defense", Aggregator, "aggregate"),
    ("server step", FederatedModule, "_step"),
    ("finite check", FederatedModule, "_refuse_divergence"),
    ("observers", FederatedModule, "_observed"),
    ("journal", FederatedModule, "_report"),
    ("evaluation", story, "evaluate"),
    ("commit", Commit, "on_train_epoch_end"),
]


ALEXNET = ["~task.model.hidden", "task.model._target_=fl_platform.models.small_alexnet"]


class Stopwatch:
    """Processor seconds inside functions since the start of the last round."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.began = self.ended = 0.0

    def watch(self, name: str, owner: Any, attribute: str) -> None:
        function = getattr(owner, attribute)

        def timed(*arguments: Any, **named: Any) -> Any:
            before = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.ended = time.process_time()
                self.seconds[name] = self.seconds.get(name, 0.0) + self.ended - before

        setattr(owner, attribute, timed)

    def restart(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def begun(*arguments: Any, **named: Any) -> Any:
            self.seconds, self.began = {}, time.process_time()
            return function(*arguments, **named)

        return begun

    def profile(self) -> dict[str, float]:
        """Seconds per part; a part excludes the parts nested in it."""
        spent = {name: self.seconds.get(name, 0.0) for name, _, _ in PHASES}
        spent["reading batches, orders, rows"] = spent.pop("local training") - spent["local steps"]
        spent["observers"] -= spent["evaluation"]
        total = self.ended - self.began
        spent["loop and rest"] = total - sum(spent.values())
        return spent


def synthetic(folder: Path, images: int) -> list[str]:
    """Noise plus one pattern per class in CIFAR-10's shape, and the overrides that read it."""
    draws = np.random.default_rng(0)
    kinds = draws.integers(0, 64, (10, 32, 32, 3), dtype=np.uint8)
    drawn = {}
    for name, count in (("train", 50 * images), ("test", 10 * images)):
        labels = draws.integers(0, 10, count)
        noise = draws.integers(0, 192, (count, 32, 32, 3), dtype=np.uint8)
        drawn |= {f"{name}_labels": labels, f"{name}_images": noise + kinds[labels]}
    np.savez(folder / "synthetic.npz", **drawn)
    arrays = ["task=arrays", f"task.data.root={folder}", "task.data.file=synthetic.npz"]
    return [*arrays, "task.local.batch=128"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--images", type=int, default=1000, help="a client, of the synthetic ones")
    parser.add_argument("--json")
    asked = parser.parse_args()
    watch = Stopwatch()
    for phase in PHASES:
        watch.watch(*phase)
    FederatedModule.training_step = watch.restart(FederatedModule.training_step)  # type: ignore
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "conf").symlink_to(REPOSITORY / "conf")
        given = any(typed.startswith("task.data.") for typed in asked.overrides)
        data = ["task=cifar10"] if given else [*synthetic(home, asked.images), *ALEXNET]
        fixed = ["attack=strike", "defense=multi_krum", "rounds=2", "runtime.tracking=journal"]
        quiet = ["runtime.progress=none", "runtime.device=cpu"]
        config = compose([*data, *fixed, *quiet, *asked.overrides], home)
        result = story.run(config, home)
    spent = watch.profile()
    total = sum(spent.values())
    useful = spent["local steps"] + spent["evaluation"]
    report = {
        "machine": machine(),
        "data": "given" if given else "synthetic",
        "status": result.status,
        "processor seconds": {k: round(v, 3) for k, v in spent.items()},
        "share": {k: round(v / total, 4) for k, v in spent.items()},
        "total": round(total, 2),
        "overhead": round(1 - useful / total, 4),
    }
    write(report, asked.json)


if __name__ == "__main__":
    main()
