"""One trial: a run for each seed, a value, and what links the two."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import Trial

from fl_platform.config import Config, ConfigError, config_hash
from fl_platform.core.process import Stopper
from fl_platform.run import runner as running
from fl_platform.run.build import load_population
from fl_platform.run.provenance import code_fingerprint
from fl_platform.run.result import Result
from fl_platform.study.constraint import weight_share
from fl_platform.study.problem import Stage
from fl_platform.study.space import suggest
from fl_platform.study.standing import CURVE, Standing, Watch
from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.parent_run import ParentRun
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder


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
        standing = Standing(
            trial,
            stage.plan.pruner,
            stage.direction,
            rounds=configs[0].rounds,
            seeds=len(stage.plan.seeds),
            rivals=len(configs),
        )
        shares: list[float] = []
        links: list[str] = []
        for seed in stage.plan.seeds:
            for rival, config in enumerate(configs):
                seeded = dataclasses.replace(config, seed=seed)
                watch = standing.watch(rival, config.evaluation.tail)
                result = self.run(seeded, trial.number, watch)
                links.append(result.run_id)
                if not standing.given_up:
                    standing.add(rival, score(result, seeded, stage))
                if standing.given_up:
                    trial.set_user_attr("runs", links)
                    raise optuna.TrialPruned
                if stage.plan.stealth is not None:
                    shares.append(weight_share(seeded, stage.home))
        trial.set_user_attr("runs", links)
        trial.set_user_attr("values", standing.scores)
        if stage.plan.stealth is not None:
            share = sum(shares) / len(shares)
            trial.set_user_attr("weight_share", share)
            trial.set_constraint("weight_share", share - stage.plan.stealth)
        return standing.value

    def run(self, config: Config, number: int | None, watch: Watch | None = None) -> Result:
        """One run to its end; a run that is over is read, one that was left is continued.

        Where ``watch`` gives it up it is left with a checkpoint, and is no result.

        A run that another trial of the same point has in hand is waited for. One that was left by
        other code cannot be continued and is begun afresh.

        Raises:
            GivenBack: a signal came before the end.
        """
        began = time.perf_counter()
        folder = run_folder(self.stage.home, config_hash(config)).path
        self.upload(folder)
        try:
            result = self._to_its_end(config, watch)
        finally:
            self.seconds += time.perf_counter() - began
        if watch is not None:  # a stored run has called nobody back
            watch.hear(read(run_folder(self.stage.home, config_hash(config)).journal).curve(CURVE))
        if result.status == "KILLED" and not (watch is not None and watch.given_up):
            raise GivenBack(result.reason)
        self._link(config, number)
        self.upload(folder)
        self.hashes.append(config_hash(config))
        return result

    def _to_its_end(self, config: Config, watch: Watch | None) -> Result:
        home = self.stage.home
        callbacks = () if watch is None else (watch,)
        while True:
            if self.stopper.signal is not None:
                raise GivenBack(f"stopped by signal {self.stopper.signal}")
            try:
                return running.run(
                    config, home, parent_run_id=self.parent.run_id, callbacks=callbacks
                )
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
                    journal = Journal(folder.journal)
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
