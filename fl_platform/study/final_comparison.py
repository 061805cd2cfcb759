"""The honest comparison: chosen by validation, told by the test set, on seeds nothing was tuned on.

Trials are never scored by test samples. When a study has its trials, the winner and the default
are run with fresh seeds, which also means other partitions, other initial weights and other
validation splits, and their test accuracies are written down, all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from fl_platform.report.statistics import summarize
from fl_platform.run.build import load_population
from fl_platform.run.result import Result
from fl_platform.study.objective import Objective
from fl_platform.study.problem import Stage


@dataclass(frozen=True)
class Sample:
    """What one point reached on the fresh seeds; accuracies in percent.

    Attributes:
        overrides: what tells the point from the study's base.
        test, validation: tail accuracies, one a seed, in the order of ``seeds``.
    """

    name: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    test: tuple[float, ...]
    validation: tuple[float, ...]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of Student's 95 % interval; the half-width of one value is infinite."""
    found = summarize(values)
    return found.mean, found.mean - found.low if found.n > 1 else math.inf


def difference(a: Sample, b: Sample) -> tuple[float, float]:
    """Mean and 95 % half-width of ``a - b`` on the test set, seed by seed."""
    pairs = zip(a.test, b.test, strict=True)
    return interval([left - right for left, right in pairs])


def winner(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that keeps the constraint; ``None`` where no trial does or none is done."""
    try:
        return study.best_trial
    except ValueError:
        return None


def fresh_seeds(stage: Stage, look: int) -> tuple[int, ...]:
    """The seeds of the ``look``-th comparison; a second one, after more trials, has others."""
    first = stage.plan.final.offset + look * stage.plan.final.seeds
    return tuple(range(first, first + stage.plan.final.seeds))


def sample(
    objective: Objective,
    name: str,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    rival: Sequence[str] | None = None,
) -> Sample:
    """Run one point with every fresh seed."""
    stage, results = objective.stage, []
    for seed in seeds:
        config = stage.config(values, seed, rival)
        result = objective.run(config, None)
        chance = 100.0 / load_population(config, stage.home).dataset.num_classes
        results.append(_scored(result, chance))
    against = stage.rivals[0] if rival is None else rival
    told = (*against, *(f"{key}={value}" for key, value in values.items()))
    test, validation = zip(*results, strict=True)
    return Sample(name, told, tuple(seeds), test, validation)


def as_json(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Plain values for the storage."""
    return [asdict(it) for it in samples]


def from_json(stored: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """The samples that `as_json` wrote."""
    found = []
    for it in stored:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in it.items()}
        found.append(Sample(**values))
    return found


def _scored(result: Result, chance: float) -> tuple[float, float]:
    if result.status == "DIVERGED" or result.accuracy_tail is None:
        return chance, chance
    return (
        result.accuracy_tail,
        chance if result.validation_tail is None else result.validation_tail,
    )
