"""The runs that are disturbed, and what must come out the same whatever happens to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fl_platform.tracking.history import UNCOMPARED
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import all_runs
from tests.faults.zygote import Child, Zygote

T = TypeVar("T")
R = TypeVar("R")

# Small federations whose attack, defense, mixing or server remembers something over rounds.
PAIRS = {
    "mimic/centered_clipping": ["attack=mimic", "defense=centered_clipping", "defense.tau=0.2"],
    "lie/dnc": ["attack=lie", "defense=dnc", "defense.coordinates=500"],
    "ipm/bucketing+median": ["attack=ipm", "defense=median", "mixing=bucketing"],
    "strike/nnm_bucketing+median": [
        *("attack=strike", "defense=median", "mixing=nnm_bucketing"),
    ],
    "mimic/rfa/fedavgm": ["attack=mimic", "defense=rfa", "server.optimizer=fedavgm"],
    "min_max/trimmed_mean/fedadam": [
        *("attack=min_max", "defense=trimmed_mean", "server.optimizer=fedadam", "server.lr=0.01"),
    ],
    "fang_trimmed_mean/bulyan": ["attack=fang_trimmed_mean", "defense=bulyan"],
    "label_flip/centered_clipping/sampled": [
        *("attack=label_flip", "defense=centered_clipping", "defense.tau=0.2", "task.sampled=8"),
        *("mixing=bucketing", "server.optimizer=fedavgm"),
    ],
}
SMALL = ["task.clients=12", "task.local.batch=64", "byzantine.fraction=0.15", "seed=3"]
QUIET = ["runtime.tracking=journal", "runtime.progress=none"]


@dataclass
class Outcome:
    """What a run leaves that has to be equal: its end and every number but clocks and machine."""

    status: str
    weights: str
    metrics: dict[str, list[tuple[int, float]]]
    alarms: list[str] = field(default_factory=list)

    def differences(self, other: Outcome) -> list[str]:
        """One line for everything that differs."""
        found = [
            f"{name}: {mine} and {theirs}"
            for name, mine, theirs in (
                ("status", self.status, other.status),
                ("weights", self.weights[:16], other.weights[:16]),
                ("alarms", self.alarms, other.alarms),
            )
            if mine != theirs
        ]
        keys = self.metrics.keys() | other.metrics.keys()
        return found + [
            key
            for key in sorted(keys)
            if repr(self.metrics.get(key)) != repr(other.metrics.get(key))  # NaN equals NaN
        ]


def outcome(home: Path) -> Outcome:
    """Of the only run in ``home``."""
    (folder,) = all_runs(home)
    history = read(folder.journal)
    metrics = {key: history.curve(key) for key in history.metrics if not key.startswith(UNCOMPARED)}
    result = folder.result or {}
    return Outcome(history.status, result.get("weights_sha256", ""), metrics, history.alarms)


def command(pair: str, *more: str, home: Path, rounds: int = 24) -> list[str]:
    """The command line of the run ``pair``."""
    chosen = [*PAIRS[pair], *SMALL, *QUIET, f"rounds={rounds}", *more]
    return ["run", *chosen, "--home", str(home)]


def side_by_side(trial: Callable[[T], R], cases: Iterable[T]) -> list[R]:
    """``trial`` of each case, two at a time: the trials are processes of their own."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(trial, cases))


@dataclass
class Trial:
    """A run that was killed again and again until it was done."""

    kills: int = 0
    redone: int = 0


def kill_until_done(
    zygote: Zygote,
    arguments: list[str],
    chance: random.Random,
    longest: float,
    *,
    most: int = 8,
    **settings: Any,
) -> Trial:
    """Start ``arguments`` and kill after a uniformly random time below ``longest``, until done.

    After ``most`` kills it is left to end by itself.
    """
    trial = Trial()
    while True:
        child: Child = zygote.start(*arguments, **settings)
        delay = chance.uniform(0, longest)
        code = child.wait(delay) if trial.kills < most else child.finish()
        if code is None:
            child.kill()
            code = child.finish()
            if code == -9:
                trial.kills += 1
                continue
        if code != 0:
            raise AssertionError(f"exit code {code} after {trial.kills} kills:\n{child.text}")
        return trial
