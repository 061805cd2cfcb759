"""Final comparison: selected on validation data, evaluated on test data with fresh seeds.

The value of a trial depends on validation data only. When a study is complete, the best trial and
the default settings are run with fresh seeds, that is with other partitions, initial weights and
validation splits, and all their test accuracies are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

from fl_platform.report.statistics import summarize
from fl_platform.run.result import Result
from fl_platform.study.problem import Problem

if TYPE_CHECKING:
    from fl_platform.study.objective import Objective


@dataclass(frozen=True)
class Sample:
    """Accuracies of one point on the fresh seeds, in percent.

    Attributes:
        overrides: settings of the point beyond the study's base.
        test, validation: tail accuracies, one per seed, in the order of ``seeds``.
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


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that satisfies the constraint; ``None`` if there is none."""
    try:
        return study.best_trial
    except ValueError:
        return None


def fresh_seeds(problem: Problem, index: int) -> tuple[int, ...]:
    """Seeds of comparison number ``index``; each comparison has its own."""
    first = problem.spec.final.offset + index * problem.spec.final.seeds
    return tuple(range(first, first + problem.spec.final.seeds))


def evaluate(
    objective: Objective,
    name: str,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    opponent: Sequence[str] | None = None,
) -> Sample:
    """Run one point with every fresh seed."""
    from fl_platform.run.build import load_population  # imports Lightning

    problem, results = objective.problem, []
    for seed in seeds:
        config = problem.config(values, seed, opponent)
        result = objective.run(config, None)
        chance = 100.0 / load_population(config, problem.home).dataset.num_classes
        results.append(_scored(result, chance))
    against = problem.opponents[0] if opponent is None else opponent
    overrides = (*against, *(f"{key}={value}" for key, value in values.items()))
    test, validation = zip(*results, strict=True)
    return Sample(name, overrides, tuple(seeds), test, validation)


def as_json(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Samples as plain JSON values."""
    return [asdict(it) for it in samples]


def from_json(stored: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Inverse of `as_json`."""
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
