"""The worker loop: request, run and report trials until the study has enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from fl_platform.core.process import Stopper
from fl_platform.study.objective import Objective, TrialRequeued
from fl_platform.study.problem import Problem
from fl_platform.study.samplers import build_sampler
from fl_platform.study.storage import recover, requeue
from fl_platform.tracking.lock import alone

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Limits:
    """Limits of one worker.

    Attributes:
        trials: number of its own trials. Default: until the study has its total number.
        deadline: monotonic time after which no trial is started.
    """

    trials: int | None = None
    deadline: float | None = None

    def reached(self, ended: int) -> bool:
        """Whether a worker stops after ``ended`` trials of its own."""
        if self.trials is not None and ended >= self.trials:
            return True
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True)
class TrialLoopReport:
    """Number of ended trials, wall seconds in total and inside their runs."""

    trials: int
    seconds: float
    seconds_running: float

    @property
    def overhead(self) -> float:
        """Seconds per trial outside its runs."""
        return (self.seconds - self.seconds_running) / max(self.trials, 1)


class RequestLock:
    """Lock around the request of a trial, so that the budget is not exceeded.

    The lock covers one machine; each worker on another machine may start one trial too many.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = ExitStack()

    def acquire(self) -> None:
        """Wait for the lock."""
        self._held.enter_context(alone(self.path))

    def release(self) -> None:
        """Release the lock; a second call has no effect."""
        self._held.close()


def run_trials(
    problem: Problem,
    study: optuna.Study,
    objective: Objective,
    lock: RequestLock,
    stopper: Stopper,
    limits: Limits,
    ended_trial: Callable[[optuna.Study, FrozenTrial], None],
) -> TrialLoopReport:
    """Run trials until a limit, the problem's number of trials or a stop signal.

    Args:
        ended_trial: called with each trial that has ended.
    """
    began, inside, ended = time.perf_counter(), objective.seconds, 0
    objective.suggested = lock.release
    while stopper.signal is None and not limits.reached(ended):
        lock.acquire()
        try:
            recover(study)
            if limits.trials is None and claimed(study) >= problem.trials:
                break
            study.sampler = build_sampler(
                problem.spec.sampler, len(study.get_trials(deepcopy=False))
            )
            study.optimize(objective, n_trials=1, catch=(TrialRequeued,))
        finally:
            lock.release()
        last = study.get_trials(deepcopy=False)[objective.number]
        if last.state == TrialState.FAIL:
            requeue(study, last)
        else:
            ended += 1
            ended_trial(study, last)
    spent = time.perf_counter() - began
    return TrialLoopReport(ended, spent, objective.seconds - inside)


def claimed(study: optuna.Study) -> int:
    """Number of trials that are done or running; queued trials do not count."""
    states = (*DONE, TrialState.RUNNING)
    return len(study.get_trials(deepcopy=False, states=states))


def complete(study: optuna.Study, problem: Problem) -> bool:
    """Whether the study has its total number of trials and none is running."""
    recover(study)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    running = states.count(TrialState.RUNNING)
    return not running and sum(state in DONE for state in states) >= problem.trials
