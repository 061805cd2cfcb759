"""Objective of a trial: one run per seed and opponent, and the links from runs to trials."""

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
from fl_platform.study.problem import Problem
from fl_platform.study.samplers import join_population
from fl_platform.study.spec import suggest
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import IdentityMismatch, head, run_folder


def worst(scores: Sequence[Sequence[float]], direction: str) -> float:
    """Mean over seeds against the opponent that is worst for the tuned side.

    Args:
        scores: accuracies in percent, a row per opponent, a column per seed.
        direction: ``maximize`` for a defense, ``minimize`` for an attack.
    """
    means = [math.fsum(values) / len(values) for values in scores]
    return min(means) if direction == "maximize" else max(means)


def values_of(scores: Sequence[Sequence[float]], problem: Problem) -> float | tuple[float, float]:
    """Value of a trial, see `worst`; with ``front`` also the accuracy without attack, first."""
    if not problem.spec.front:
        return worst(scores, problem.direction)
    return worst(scores[:1], problem.direction), worst(scores[1:], problem.direction)


class TrialRequeued(Exception):  # noqa: N818 - control flow, not an error
    """The worker was stopped; the trial is queued again and its runs continue from checkpoints."""


class Objective:
    """Objective function for Optuna.

    Args:
        problem: the study's problem.
        parent: parent run of all runs.
        stopper: the handler of stop signals.
        suggested: called after the parameters are drawn; another worker may then request a trial.
        upload: called with the folder of each run, when it begins and when it ends.

    Attributes:
        seconds: wall time of all runs so far.
        hashes: configuration hashes of the ended runs, in order.
        number: number of the latest trial.
    """

    def __init__(
        self,
        problem: Problem,
        parent: ParentRun,
        stopper: Stopper,
        suggested: Callable[[], None] = lambda: None,
        upload: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.problem, self.parent = problem, parent
        self.stopper, self.suggested, self.upload = stopper, suggested, upload
        self.seconds = 0.0
        self.hashes: list[str] = []
        self.number = -1

    def __call__(self, trial: Trial) -> float | tuple[float, float]:
        """Mean over seeds against the worst opponent, see `values_of`.

        Raises:
            TrialRequeued: a stop signal was received.
            TrialPruned: the pruner ended the trial; it has no value.
        """
        problem, self.number = self.problem, trial.number
        values = suggest(trial, problem.space)
        if problem.spec.sampler.name == "nsga2":
            join_population(trial)
        self.suggested()
        configs = [
            problem.config(values, problem.spec.seeds[0], opponent)
            for opponent in problem.opponents
        ]
        trial.set_user_attr("code", code_fingerprint()[:16])
        scores: list[list[float]] = [[] for _ in configs]
        shares: list[float] = []
        links: list[str] = []
        for step, seed in enumerate(problem.spec.seeds):
            for row, config in zip(scores, configs, strict=True):
                seeded = dataclasses.replace(config, seed=seed)
                result = self.run(seeded, trial.number)
                links.append(result.run_id)
                row.append(score(result, seeded, problem))
                if problem.spec.stealth is not None:
                    shares.append(weight_share(seeded, problem.home))
            if problem.spec.front:  # Optuna has no pruning with two objectives
                continue
            trial.report(worst([row[-1:] for row in scores], problem.direction), step)
            if step + 1 < len(problem.spec.seeds) and trial.should_prune():
                trial.set_user_attr("runs", links)
                raise optuna.TrialPruned
        trial.set_user_attr("runs", links)
        trial.set_user_attr("values", scores)
        if problem.spec.stealth is not None:
            share = sum(shares) / len(shares)
            trial.set_user_attr("weight_share", share)
            trial.set_constraint("weight_share", share - problem.spec.stealth)
        return values_of(scores, problem)

    def run(self, config: Config, number: int | None) -> Result:
        """Finish one run: read its stored result, continue it or start it.

        If another worker executes the run, wait for it. A run that other code has begun is
        restarted.

        Raises:
            TrialRequeued: a stop signal was received before the end.
        """
        began = time.perf_counter()
        folder = run_folder(self.problem.home, config_hash(config)).path
        self.upload(folder)
        try:
            result = self._finish(config)
        finally:
            self.seconds += time.perf_counter() - began
        if result.status == "KILLED":
            raise TrialRequeued(result.reason)
        self._link(config, number)
        self.upload(folder)
        self.hashes.append(config_hash(config))
        return result

    def _finish(self, config: Config) -> Result:
        while True:
            if self.stopper.signal is not None:
                raise TrialRequeued(f"stopped by signal {self.stopper.signal}")
            try:
                return running.run(config, self.problem.home, parent_run_id=self.parent.run_id)
            except RunOwned:
                time.sleep(0.2)
            except IdentityMismatch:
                fresh = dataclasses.replace(config.runtime, fresh=True)
                config = dataclasses.replace(config, runtime=fresh)

    def _link(self, config: Config, number: int | None) -> None:
        """Tag the run with its study and trial; several trials may share one run."""
        if number is None:
            return
        folder = run_folder(self.problem.home, config_hash(config))
        new = {"optuna.study": self.problem.name, "optuna.trial": f"{self.problem.name}#{number}"}
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


def score(result: Result, config: Config, problem: Problem) -> float:
    """Validation accuracy in percent; chance level for a run that diverged."""
    if result.status == "DIVERGED":
        return 100.0 / load_population(config, problem.home).dataset.num_classes
    value = result.validation_tail
    if value is None or not math.isfinite(value):
        raise ConfigError(f"{result.name}: expected a validation accuracy, got none.")
    return value
