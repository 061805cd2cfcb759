"""One trial: a run for each seed, a value, and what links the two."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.trial import Trial

import fl_platform.run.runner as running
from fl_platform.config import Config, ConfigError, config_hash
from fl_platform.core.process import Stopper
from fl_platform.run.build import load_population
from fl_platform.run.provenance import code_fingerprint
from fl_platform.run.result import Result
from fl_platform.study.constraint import weight_share
from fl_platform.study.problem import Stage
from fl_platform.study.spec import suggest
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import IdentityMismatch, head, run_folder


def worst(scores: Sequence[Sequence[float]], direction: str) -> float:
    """The mean over seeds against the opponent that is worst for the tuned side.

    Args:
        scores: accuracies in percent, a row per opponent, a column per seed.
        direction: ``maximize`` for a defense, ``minimize`` for an attack.
    """
    means = [math.fsum(values) / len(values) for values in scores]
    return min(means) if direction == "maximize" else max(means)


class GivenBack(Exception):  # noqa: N818 - a way to end, not a fault
    """The worker was asked to stop; the trial is queued again and continues where it was."""


class Objective:
    """What Optuna calls for a trial.

    Args:
        parent: the run that the trial's runs are children of.
        suggested: called once the parameters are known and another worker may ask for the next.
        upload: called with the folder of each run, when it begins and when it ends.

    Attributes:
        seconds: wall time spent in runs, over all trials so far.
        hashes: configuration hashes of the runs that ended, in order.
        number: of the trial that was begun last.
    """

    def __init__(
        self,
        stage: Stage,
        parent: ParentRun,
        stopper: Stopper,
        suggested: Callable[[], None] = lambda: None,
        upload: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.stage, self.parent = stage, parent
        self.stopper, self.suggested, self.upload = stopper, suggested, upload
        self.seconds = 0.0
        self.hashes: list[str] = []
        self.number = -1

    def __call__(self, trial: Trial) -> float:
        """Mean over the seeds, against the rival that is worst for whoever tunes.

        Raises:
            GivenBack: a signal came.
            TrialPruned: the pruner gave the trial up; it is no result.
        """
        stage, self.number = self.stage, trial.number
        values = suggest(trial, stage.space)
        self.suggested()
        configs = [stage.config(values, stage.plan.seeds[0], rival) for rival in stage.rivals]
        trial.set_user_attr("code", code_fingerprint()[:16])
        scores: list[list[float]] = [[] for _ in configs]
        shares: list[float] = []
        links: list[str] = []
        for step, seed in enumerate(stage.plan.seeds):
            for row, config in zip(scores, configs, strict=True):
                seeded = dataclasses.replace(config, seed=seed)
                result = self.run(seeded, trial.number)
                links.append(result.run_id)
                row.append(score(result, seeded, stage))
                if stage.plan.stealth is not None:
                    shares.append(weight_share(seeded, stage.home))
            trial.report(worst([row[-1:] for row in scores], stage.direction), step)
            if step + 1 < len(stage.plan.seeds) and trial.should_prune():
                trial.set_user_attr("runs", links)
                raise optuna.TrialPruned
        trial.set_user_attr("runs", links)
        trial.set_user_attr("values", scores)
        if stage.plan.stealth is not None:
            share = sum(shares) / len(shares)
            trial.set_user_attr("weight_share", share)
            trial.set_constraint("weight_share", share - stage.plan.stealth)
        return worst(scores, stage.direction)

    def run(self, config: Config, number: int | None) -> Result:
        """Run to the end: a finished run is read, an interrupted one is continued.

        A run that another worker executes is waited for. One that other code began cannot be
        continued and is restarted.

        Raises:
            GivenBack: a signal came before the end.
        """
        began = time.perf_counter()
        folder = run_folder(self.stage.home, config_hash(config)).path
        self.upload(folder)
        try:
            result = self._to_its_end(config)
        finally:
            self.seconds += time.perf_counter() - began
        if result.status == "KILLED":
            raise GivenBack(result.reason)
        self._link(config, number)
        self.upload(folder)
        self.hashes.append(config_hash(config))
        return result

    def _to_its_end(self, config: Config) -> Result:
        while True:
            if self.stopper.signal is not None:
                raise GivenBack(f"stopped by signal {self.stopper.signal}")
            try:
                return running.run(config, self.stage.home, parent_run_id=self.parent.run_id)
            except RunOwned:
                time.sleep(0.2)
            except IdentityMismatch:
                fresh = dataclasses.replace(config.runtime, fresh=True)
                config = dataclasses.replace(config, runtime=fresh)

    def _link(self, config: Config, number: int | None) -> None:
        """Tag the run with its study and trial; one run may serve several of them."""
        if number is None:
            return
        folder = run_folder(self.stage.home, config_hash(config))
        new = {"optuna.study": self.stage.name, "optuna.trial": f"{self.stage.name}#{number}"}
        while True:
            try:
                with RunLock(folder.lock):
                    journal = Journal(folder.journal, head(folder.describe() or {}))
                    tags = journal.history.tags
                    added = {
                        key: " ".join(filter(None, [tags.get(key), value]))
                        for key, value in new.items()
                        if value not in tags.get(key, "").split(" ")
                    }
                    if added:
                        journal.note("tags", values=added)
                    journal.close()
                return
            except RunOwned:
                time.sleep(0.05)


def score(result: Result, config: Config, stage: Stage) -> float:
    """A run's validation accuracy; one that diverged classifies like chance, and is a result."""
    if result.status == "DIVERGED":
        return 100.0 / load_population(config, stage.home).dataset.num_classes
    value = result.validation_tail
    if value is None or not math.isfinite(value):
        raise ConfigError(f"{result.name}: expected a validation accuracy, got none.")
    return value
