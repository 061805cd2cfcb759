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
from fl_platform.study.objective import GivenBack, Objective
from fl_platform.study.problem import Stage
from fl_platform.study.samplers import build_sampler
from fl_platform.study.storage import give_back, recover
from fl_platform.tracking.lock import alone

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Limits:
    """When a worker stops: after so many trials of its own, or at a time of the clock.

    Where ``trials`` is ``None`` it goes on until the study has all that its file wants.
    """

    trials: int | None = None
    deadline: float | None = None

    def reached(self, ended: int) -> bool:
        """Whether a worker that has ended so many trials stops here."""
        if self.trials is not None and ended >= self.trials:
            return True
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True)
class Report:
    """What a worker did: trials ended, wall seconds in all and inside their runs."""

    trials: int
    seconds: float
    seconds_running: float

    @property
    def overhead(self) -> float:
        """Seconds a trial outside its runs."""
        return (self.seconds - self.seconds_running) / max(self.trials, 1)


class Turn:
    """One worker of this machine asks at a time, so that the budget is met and not exceeded.

    Workers on other machines do not see the lock: they may begin one trial too many each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = ExitStack()

    def take(self) -> None:
        """Wait for the turn."""
        self._held.enter_context(alone(self.path))

    def give(self) -> None:
        """Let the next one ask; does nothing the second time."""
        self._held.close()


def work(
    stage: Stage,
    study: optuna.Study,
    objective: Objective,
    turn: Turn,
    stopper: Stopper,
    limits: Limits,
    tell: Callable[[optuna.Study, FrozenTrial], None],
) -> Report:
    """Run trials until a limit, the stage's number or a signal; ``tell`` hears of each."""
    began, inside, ended = time.perf_counter(), objective.seconds, 0
    objective.suggested = turn.give
    while stopper.signal is None and not limits.reached(ended):
        turn.take()
        try:
            recover(study)
            if limits.trials is None and claimed(study) >= stage.trials:
                break
            study.sampler = build_sampler(stage.plan.sampler, len(study.get_trials(deepcopy=False)))
            study.optimize(objective, n_trials=1, catch=(GivenBack,))
        finally:
            turn.give()
        last = study.get_trials(deepcopy=False)[objective.number]
        if last.state == TrialState.FAIL:
            give_back(study, last)
        else:
            ended += 1
            tell(study, last)
    spent = time.perf_counter() - began
    return Report(ended, spent, objective.seconds - inside)


def claimed(study: optuna.Study) -> int:
    """Trials that are done or in somebody's hands; queued ones are nobody's yet."""
    states = (*DONE, TrialState.RUNNING)
    return len(study.get_trials(deepcopy=False, states=states))


def complete(study: optuna.Study, stage: Stage) -> bool:
    """Whether the study has all trials that are wanted and none is still running."""
    recover(study)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    running = states.count(TrialState.RUNNING)
    return not running and sum(state in DONE for state in states) >= stage.trials
