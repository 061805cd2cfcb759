"""A batch of runs of an arena in one process: compose, train side by side, evaluate."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_platform.config import Config, compose, data_node
from fl_platform.core.process import Stopped
from fl_platform.study.arena.search import Played, Trial

if TYPE_CHECKING:
    from fl_platform.run.build import Population

_STOP: Any = None  # the event of this worker process


@dataclass(frozen=True)
class ArenaSetting:
    """What all runs of one arena share.

    Attributes:
        home: workspace.
        base: overrides of the runs, defense included.
        defense: those among them that make the defense.
        validation: share of the training samples held out in runs on validation data.
        plugins: packages with further rules.
    """

    home: Path
    base: tuple[str, ...]
    defense: tuple[str, ...]
    validation: float
    plugins: tuple[str, ...] = ()

    def overrides(self, trial: Trial) -> list[str]:
        """The command line of the run: ``fl-platform run`` with these gives the same numbers."""
        base = [text for text in self.base if not (trial.reference and text in self.defense)]
        share = self.validation if trial.on == "validation" else 0.0
        own = ["defense=mean", "mixing=none"] if trial.reference else []
        own += [f"task.validation={share:g}", f"seed={trial.seed}", f"rounds={trial.rounds}"]
        return [*base, *own, *trial.attack, "runtime.progress=none", "runtime.tracking=journal"]

    def config(self, trial: Trial) -> Config:
        """The checked configuration of the run."""
        return compose(self.overrides(trial), self.home, plugins=self.plugins)


def play(
    setting: ArenaSetting, trials: Sequence[Trial], should_stop: Callable[[], None] = lambda: None
) -> list[tuple[Trial, Played, float]]:
    """Run trials of one seed, set and length side by side: each with its share of the seconds."""
    import torch

    from fl_platform.federated.callbacks.roles import RefusedByRule
    from fl_platform.run.refusals import with_key
    from fl_platform.run.runner import refuse_labels
    from fl_platform.study.arena.side_by_side import SideBySide  # imports Lightning

    started = time.perf_counter()
    configs = [setting.config(trial) for trial in trials]
    torch.set_num_threads(configs[0].runtime.threads)
    population = _population(configs[0], setting.home)
    for config in configs:
        refuse_labels(config, population.dataset.num_classes)
    race = SideBySide(configs, population, trials[0].on, should_stop)
    try:
        courses = race.run(trials[0].rounds)
    except RefusedByRule as refusal:
        raise with_key(refusal.group, str(refusal)) from None
    each = (time.perf_counter() - started) / len(trials)
    return [
        (trial, Played(tuple(course.curve), course.reason), each)
        for trial, course in zip(trials, courses, strict=True)
    ]


_POPULATIONS: dict[str, Population] = {}


def _population(config: Config, home: Path) -> Population:
    """The data of a run; kept for a few tasks and seeds, which many batches share."""
    task, byzantine = config.task, config.byzantine
    parts: list[Any] = [data_node(config, home), config.data_seed, config.seed, task.partition]
    parts += [task.clients, task.beta, task.minimum, task.validation, task.samples]
    parts += [task.root_samples, byzantine.data, byzantine.share]
    key = json.dumps(parts, sort_keys=True, default=str)
    if key not in _POPULATIONS:
        from fl_platform.run.build import load_population

        while len(_POPULATIONS) >= 8:
            del _POPULATIONS[next(iter(_POPULATIONS))]
        _POPULATIONS[key] = load_population(config, home)
    return _POPULATIONS[key]


def enter(stop: Any) -> None:
    """Begin a worker process: the parent decides when it stops."""
    global _STOP
    _STOP = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def play_in_worker(
    setting: ArenaSetting, trials: Sequence[Trial]
) -> list[tuple[Trial, Played, float]] | None:
    """`play` in a worker process; ``None`` where it was asked to stop."""
    try:
        return play(setting, trials, _leave_if_asked)
    except Stopped:
        return None


def _leave_if_asked() -> None:
    if _STOP is not None and _STOP.is_set():
        raise Stopped("the arena was asked to stop")


def batches(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Groups of at most ``size`` trials of one seed, set and length; slow attacks by themselves.

    Attacks that query the defense cost as much as ten others, so that they are one to a batch.
    """
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        slow = trial.attack if trial.attack[0] == "attack=fang" else ()
        groups.setdefault((trial.on, trial.seed, trial.rounds, slow), []).append(trial)
    ordered = sorted(groups.values(), key=lambda group: group[0].attack[0] != "attack=fang")
    return [group[i : i + size] for group in ordered for i in range(0, len(group), size)]
