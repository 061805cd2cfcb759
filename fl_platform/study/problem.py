"""The problem of one Optuna study: fixed settings, search space, identity checks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from fl_platform.config import (
    Config,
    ConfigError,
    canonical,
    compose,
    differences,
    target_name,
)
from fl_platform.config.paths import tuning_files
from fl_platform.run.lookup import digest_of
from fl_platform.study.samplers import (
    NUMBERS_ONLY,
    OPTIONS,
    build_pruner,
    build_sampler,
    checked_options,
)
from fl_platform.study.spec import (
    Direction,
    Range,
    Space,
    StudySpec,
    as_overrides,
    load_spec,
)

METRIC_LABEL = "validation accuracy (%)"
FRONT_LABELS = ("validation accuracy without attack (%)", "worst-case validation accuracy (%)")
EXPERIMENT = "tuning"  # MLflow experiment of all studies; parents and children must share one


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What one Optuna study optimizes; a minimax study has one problem per attack and turn.

    Attributes:
        name: study name in the storage.
        base: overrides of every run.
        opponents: alternative further overrides; the worst one determines a trial's value. With
            two objectives the first one is no attack.
        trials: total number of trials.
        start: points of the first trials.
    """

    name: str
    spec: StudySpec
    home: Path
    base: tuple[str, ...]
    space: Space
    direction: Direction
    trials: int
    start: tuple[Mapping[str, Any], ...] = ()
    opponents: tuple[tuple[str, ...], ...] = ((),)
    plugins: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a trial's values: one objective, or two with ``front``."""
        return FRONT_LABELS if self.spec.front else (METRIC_LABEL,)

    def config(
        self, values: Mapping[str, Any], seed: int, opponent: Sequence[str] | None = None
    ) -> Config:
        """Configuration of the run of one point with one seed; the study uploads the run."""
        against = self.opponents[0] if opponent is None else opponent
        typed = [*self.base, *against, *as_overrides(values)]
        config = _composed(tuple(typed), self.home, self.plugins)
        runtime = dataclasses.replace(config.runtime, tracking="journal")
        return dataclasses.replace(config, seed=seed, experiment=EXPERIMENT, runtime=runtime)

    def check(self) -> None:
        """Compose the corners of the space to find invalid keys and values before training.

        Raises:
            ConfigError: an unknown key, a value out of range, no validation samples, or a pruner
                or sampler without effect.
        """
        self._refuse_no_validation(self.config({}, self.spec.seeds[0]))
        checked_options(self.spec.sampler)
        self._refuse_pruner()
        self._refuse_population()
        name, entries = self.spec.sampler.name, self.space.values()
        if name in NUMBERS_ONLY and not any(isinstance(entry, Range) for entry in entries):
            raise ConfigError(
                f"sampler.name: expected tpe, gp or random for a space of choices, got {name},"
                " which samples numbers only."
            )
        for corner in ("low", "high"):
            values = {
                key: getattr(entry, corner, None) if hasattr(entry, corner) else entry.choices[0]  # type: ignore[union-attr]
                for key, entry in self.space.items()
            }
            self._refuse_no_validation(self.config(values, self.spec.seeds[0]))
        for point in self.start:
            self.config(point, self.spec.seeds[0])
        for opponent in self.opponents[1:]:
            self.config({}, self.spec.seeds[0], opponent)

    def _refuse_no_validation(self, config: Config) -> None:
        if not config.task.validation:
            raise ConfigError(
                "task.validation: expected a share above 0, because studies select on"
                " validation data, got 0."
            )

    def _refuse_pruner(self) -> None:
        """Refuse a pruner without seeds to test after its start-up seeds."""
        pruner, seeds = self.spec.pruner, len(self.spec.seeds)
        if pruner.name != "none" and pruner.startup_seeds >= seeds:
            raise ConfigError(
                f"pruner.startup_seeds: expected fewer than {seeds}, the seeds per trial, got"
                f" {pruner.startup_seeds}."
            )

    def _refuse_population(self) -> None:
        """Refuse a genetic algorithm whose budget ends with the first, random population."""
        sampler = self.spec.sampler
        if sampler.name != "nsga2":
            return
        size = sampler.options.get("population_size", OPTIONS["nsga2"]["population_size"])
        if not isinstance(size, int) or not 2 <= size < self.trials:
            raise ConfigError(
                "sampler.options.population_size: expected a number from 2 to"
                f" {self.trials - 1}, below budget.trials, since the first population is drawn at"
                f" random; got {size}."
            )

    def identity(self) -> dict[str, Any]:
        """Settings that all trials of a study must share, as plain JSON."""
        bases = [
            canonical(self.config({}, self.spec.seeds[0], opponent)) for opponent in self.opponents
        ]
        for base in bases:
            del base["seed"]
        whole: dict[str, Any] = {
            "base": dict(enumerate(bases)) if len(bases) > 1 else bases[0],
            "space": {key: dataclasses.asdict(entry) for key, entry in self.space.items()},
            "direction": self.direction,
            "metric": self.spec.metric,
            "seeds": list(self.spec.seeds),
            "stealth": self.spec.stealth,
        }
        if self.spec.front:
            whole["objectives"] = list(self.labels)
        plain: dict[str, Any] = json.loads(json.dumps(whole))
        return plain


@lru_cache(maxsize=32)
def _composed(typed: tuple[str, ...], home: Path, plugins: tuple[str, ...]) -> Config:
    """Compose once for all seeds; one composition takes about 0.1 s."""
    return compose(typed, home, plugins=plugins)


def tuned_defense(problem: Problem) -> StudySpec:
    """Study file of the problem's defense, which names the parameters to tune.

    Raises:
        ConfigError: the defense has no such file, or the file has no space.
    """
    defense = target_name(problem.config({}, problem.spec.seeds[0]).defense)
    if defense not in tuning_files(problem.home):
        raise ConfigError(
            f"defense: expected a defense with a file tuning/{defense}.yaml, which names the"
            f" parameters to tune, got {defense}, which has none."
        )
    spec = load_spec(defense, problem.home)
    if not spec.space:
        raise ConfigError(f"tuning/{defense}.yaml: expected a space of parameters to tune.")
    return spec


def open_study(problem: Problem, storage: BaseStorage) -> optuna.Study:
    """Open the problem's study, or create it and queue its start points.

    Raises:
        ConfigError: a study of this name has another space, base, direction, metric, seeds or data;
            the message names the differences.
    """
    study = optuna.create_study(
        study_name=problem.name,
        storage=storage,
        sampler=build_sampler(problem.spec.sampler, 0),
        pruner=build_pruner(problem.spec.pruner),
        directions=[problem.direction] * len(problem.labels),
        load_if_exists=True,
    )
    _refuse_other_data(study, problem)
    identity = problem.identity()
    known = study.user_attrs.get("identity")
    if known is None:
        for point in problem.start:
            study.enqueue_trial(dict(point))
        study.set_user_attr("identity", identity)
        study.set_metric_names(list(problem.labels))  # axis labels in optuna-dashboard
    elif known != identity:
        changes = "; ".join(differences(known, identity))
        raise ConfigError(
            f"{problem.name}: expected the settings that this study was begun with, got others"
            f" ({changes}). Restore them, or choose another study name with --name."
        )
    return study


def _refuse_other_data(study: optuna.Study, problem: Problem) -> None:
    now = digest_of(problem.config({}, problem.spec.seeds[0]), problem.home)
    was = study.user_attrs.get("data_digest")
    if was is None and now is not None:
        study.set_user_attr("data_digest", now)
    elif None not in (was, now) and was != now:
        raise ConfigError(
            f"{problem.name}: expected the data that this study was begun with, got others"
            f" (data_digest: {was!r} then, {now!r} now). Set task.data.root to the former data, or"
            " choose another study name with --name."
        )
