"""Whether a trial is given up: what its newest value is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fl_platform.study.spec import Pruner


class Percentile(BasePruner):
    """Gives up a trial whose newest value is not among the best ``percentile`` % at its step.

    Optuna's own compares a trial's best value so far. For an attacker, who lowers accuracy, that is
    the untrained model of the first rounds: nothing would ever be given up.

    Args:
        percentile: of the complete trials that reached the step and keep the constraint; an attack
            that breaks it is no measure for those that do not.
        trials: nothing is given up before so many of them.
    """

    def __init__(self, percentile: float, trials: int) -> None:
        self.percentile, self.trials = percentile, trials

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether ``trial`` is given up at its last step."""
        step = trial.last_step
        if step is None:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if step in other.intermediate_values
            and all(excess <= 0 for excess in other.constraints.values())
        ]
        if len(others) < self.trials:
            return False
        higher = study.direction == StudyDirection.MAXIMIZE
        return behind(trial.intermediate_values[step], others, self.percentile, higher)


def behind(value: float, others: Sequence[float], percentile: float, higher: bool) -> bool:
    """Whether ``value`` is worse than the ``percentile`` % best of ``others``.

    Args:
        higher: whether higher is better.
    """
    if higher:
        return value < float(np.percentile(others, 100 - percentile))
    return value > float(np.percentile(others, percentile))


def build_pruner(settings: Pruner) -> BasePruner:
    """The pruner; when it is asked is decided by `Standing`."""
    if settings.name == "none":
        return optuna.pruners.NopPruner()
    percentile = 50.0 if settings.name == "median" else settings.percentile
    return Percentile(percentile, settings.warmup_trials)
