"""One Optuna study: its fixed part, its space, and the refusal to mix two under one name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from fl_platform.config import Config, ConfigError, canonical, compose, differences
from fl_platform.run.lookup import digest_of
from fl_platform.study.samplers import NUMBERS_ONLY, build_pruner, build_sampler
from fl_platform.study.spec import Direction, Plan, Range, Space, as_overrides

EXPERIMENT = "tuning"  # the MLflow experiment of all studies: parents and children must share one


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A study as it is run: a plain one is a single stage, a game is one for each response.

    Attributes:
        name: of the study in the storage.
        base: overrides of every run.
        rivals: further overrides; a trial is worth the worst of them to whoever tunes.
        trials: how many are wanted in all.
        start: points that are tried first.
    """

    name: str
    plan: Plan
    home: Path
    base: tuple[str, ...]
    space: Space
    direction: Direction
    trials: int
    start: tuple[Mapping[str, Any], ...] = ()
    rivals: tuple[tuple[str, ...], ...] = ((),)
    plugins: tuple[str, ...] = ()

    def config(
        self, values: Mapping[str, Any], seed: int, rival: Sequence[str] | None = None
    ) -> Config:
        """The run of one point with one seed; the study has it uploaded."""
        against = self.rivals[0] if rival is None else rival
        typed = [*self.base, *against, *as_overrides(values)]
        config = _composed(tuple(typed), self.home, self.plugins)
        runtime = dataclasses.replace(config.runtime, tracking="journal")
        return dataclasses.replace(config, seed=seed, experiment=EXPERIMENT, runtime=runtime)

    def check(self) -> None:
        """Compose the corners of the space, so that a wrong key is refused before any training.

        Raises:
            ConfigError: a key that no rule has, a value out of its range, no validation samples, a
                pruner or sampler that could do nothing.
        """
        config = self.config({}, self.plan.seeds[0])
        if not config.task.validation:
            raise ConfigError(
                "task.validation: expected a share above 0, as studies never choose by the test"
                " set, got 0."
            )
        self._refuse_pruner()
        name, entries = self.plan.sampler.name, self.space.values()
        if name in NUMBERS_ONLY and not any(isinstance(entry, Range) for entry in entries):
            raise ConfigError(
                f"sampler.name: {name} proposes numbers, and would draw these choices at random;"
                " take tpe, gp or random."
            )
        for corner in ("low", "high"):
            values = {
                key: getattr(entry, corner, None) if hasattr(entry, corner) else entry.choices[0]  # type: ignore[union-attr]
                for key, entry in self.space.items()
            }
            self.config(values, self.plan.seeds[0])
        for point in self.start:
            self.config(point, self.plan.seeds[0])

    def _refuse_pruner(self) -> None:
        """The pruner compares seeds, so some must remain after those that every trial runs."""
        pruner, seeds = self.plan.pruner, len(self.plan.seeds)
        if pruner.name != "none" and pruner.startup_seeds >= seeds:
            raise ConfigError(
                f"pruner.startup_seeds: expected fewer than {seeds}, the seeds of a trial, got"
                f" {pruner.startup_seeds}."
            )

    def identity(self) -> dict[str, Any]:
        """What makes the trials of a study comparable, as plain JSON."""
        bases = [canonical(self.config({}, self.plan.seeds[0], rival)) for rival in self.rivals]
        for base in bases:
            del base["seed"]
        whole = {
            "base": dict(enumerate(bases)) if len(bases) > 1 else bases[0],
            "space": {key: dataclasses.asdict(entry) for key, entry in self.space.items()},
            "direction": self.direction,
            "metric": self.plan.metric,
            "seeds": list(self.plan.seeds),
            "stealth": self.plan.stealth,
        }
        plain: dict[str, Any] = json.loads(json.dumps(whole))
        return plain


@lru_cache(maxsize=32)
def _composed(typed: tuple[str, ...], home: Path, plugins: tuple[str, ...]) -> Config:
    """Composed once for all seeds: a tenth of a second each time."""
    return compose(typed, home, plugins=plugins)


def open_study(stage: Stage, storage: RDBStorage) -> optuna.Study:
    """The stage's study, new with its starting points queued, or known and the same.

    Raises:
        ConfigError: a study of this name has another space, base, direction, metric or seeds; the
            message names each. Or its trials are of other data than lie there now.
    """
    study = optuna.create_study(
        study_name=stage.name,
        storage=storage,
        sampler=build_sampler(stage.plan.sampler, 0),
        pruner=build_pruner(stage.plan.pruner),
        direction=stage.direction,
        load_if_exists=True,
    )
    _refuse_other_data(study, stage)
    identity = stage.identity()
    known = study.user_attrs.get("identity")
    if known is None:
        for point in stage.start:
            study.enqueue_trial(dict(point))
        study.set_user_attr("identity", identity)
    elif known != identity:
        changes = "; ".join(differences(known, identity))
        raise ConfigError(
            f"{stage.name}: this study was begun with other settings ({changes})."
            " Restore them, or give the new one a name of its own with --name."
        )
    return study


def _refuse_other_data(study: optuna.Study, stage: Stage) -> None:
    now = digest_of(stage.config({}, stage.plan.seeds[0]), stage.home)
    was = study.user_attrs.get("data_digest")
    if was is None and now is not None:
        study.set_user_attr("data_digest", now)
    elif None not in (was, now) and was != now:
        raise ConfigError(
            f"{stage.name}: this study was begun over other data (data_digest: {was!r} then,"
            f" {now!r} now). Let task.data.root name those, or give the new one a name of its own"
            " with --name."
        )
