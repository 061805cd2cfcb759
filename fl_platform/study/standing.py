"""Where a trial stands while its runs go on: what Optuna hears of it, and when it is given up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from optuna.trial import Trial

from fl_platform.run.summary import percent
from fl_platform.study.spec import Pruner
from fl_platform.tracking.lightning import JournalLogger

CURVE = "validation/accuracy"


class Standing:
    """A trial's accuracies so far, told to Optuna at steps that mean the same in every trial.

    A step is the number of rounds behind the trial, less one: round t (from 1 to R) of its i-th run
    (from 0) is step i R + t - 1, with the runs in the order of the seeds and, within a seed, of the
    rivals. By seeds it is told when all runs of a seed are over, by rounds after each evaluation,
    where the run that goes on counts with its accuracy so far. The last step decides nothing: the
    trial is complete.

    Args:
        rounds: R, of each run.
        seeds, rivals: how many of each.

    Attributes:
        scores: accuracies in percent of the runs that are over, by rival and seed.
        given_up: whether the pruner has given the trial up.
    """

    def __init__(
        self, trial: Trial, pruner: Pruner, direction: str, *, rounds: int, seeds: int, rivals: int
    ) -> None:
        self.scores: list[list[float]] = [[] for _ in range(rivals)]
        self.given_up = False
        self._trial, self._pruner, self._direction = trial, pruner, direction
        self._rounds, self._end = rounds, rounds * seeds * rivals
        self._told: set[int] = set()

    @property
    def value(self) -> float:
        """Of the trial, over the runs that are over."""
        return worst(self.scores, self._direction)

    def add(self, rival: int, accuracy: float) -> None:
        """A run is over."""
        self.scores[rival].append(accuracy)
        seeds = len(self.scores[rival])
        if self._pruner.by == "rounds":
            self._tell(self.scores, self._behind, ask=True)
        elif all(len(row) == seeds for row in self.scores):
            self._tell(self.scores, self._behind, ask=seeds >= self._pruner.warmup_seeds)

    def watch(self, rival: int, tail: int) -> Watch | None:
        """The callback of the rival's next run; ``None`` where only seeds are told."""
        if self._pruner.by == "seeds":
            return None

        def tell(done: int, accuracy: float) -> bool:
            rows = [
                [*row, accuracy] if index == rival else row for index, row in enumerate(self.scores)
            ]
            self._tell(rows, self._behind + done, ask=True)
            return self.given_up

        assert self._pruner.warmup_rounds is not None
        return Watch(tell, self._pruner.warmup_rounds, tail)

    @property
    def _behind(self) -> int:
        return self._rounds * sum(map(len, self.scores))

    def _tell(self, rows: Sequence[Sequence[float]], rounds: int, *, ask: bool) -> None:
        if rounds in self._told:
            return
        self._told.add(rounds)
        self._trial.report(worst(rows, self._direction), rounds - 1)
        if ask and rounds < self._end:
            self.given_up = self._trial.should_prune()


class Watch(Callback):
    """Tells a run's validation accuracy after each evaluation; ends the run once it is given up.

    A run that is continued tells first what its journal knows, so that it is judged as one that was
    never left.

    Args:
        tell: takes a round and the accuracy so far, as a trial's value is computed; returns whether
            the trial is given up.
        first: evaluations before this round are not told.
        tail: evaluations in the mean.
    """

    def __init__(self, tell: Callable[[int, float], bool], first: int, tail: int) -> None:
        self.given_up = False
        self._tell, self._first, self._tail = tell, first, tail
        self._heard = 0

    def hear(self, curve: Sequence[tuple[int, float]]) -> None:
        """Tell what is new of the (round, accuracy from 0 to 1) pairs, until it is given up."""
        for count, (done, _) in enumerate(curve, 1):
            if self.given_up:
                return
            if done <= self._heard:
                continue
            self._heard = done
            if done >= self._first:
                so_far = percent([value for _, value in curve[:count]], self._tail)
                self.given_up = self._tell(done, so_far)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell what an earlier process evaluated."""
        self._listen(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the round's evaluation, if it had one."""
        self._listen(trainer)

    def _listen(self, trainer: Trainer) -> None:
        assert isinstance(trainer.logger, JournalLogger)
        self.hear(trainer.logger.history.curve(CURVE))
        if self.given_up:
            trainer.should_stop = True


def worst(scores: Sequence[Sequence[float]], direction: str) -> float:
    """The mean over seeds against the rival that is worst for whoever tunes.

    A rival without a score yet is left out; every trial leaves it out at the same steps.
    """
    means = [math.fsum(values) / len(values) for values in scores if values]
    return min(means) if direction == "maximize" else max(means)
