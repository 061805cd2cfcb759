"""A run's accuracy in three numbers: at the end, over the last evaluations, and at its best."""

from __future__ import annotations

import math

from fl_platform.tracking.history import History

ACCURACY = "test/accuracy"


def accuracies(history: History, *, tail: int = 10, diverged: bool = False) -> dict[str, float]:
    """``accuracy_last``, ``accuracy_tail`` and ``accuracy_best`` in percent.

    The best one is selected on the test set and labelled so wherever it is shown. NaN without
    evaluations, and for a run that diverged, whose last numbers have no meaning.
    """
    values = [100 * value for _, value in history.curve(ACCURACY)]
    if not values or diverged or not all(map(math.isfinite, values)):
        return dict.fromkeys(("accuracy_last", "accuracy_tail", "accuracy_best"), math.nan)
    last = values[-tail:]
    return {
        "accuracy_last": values[-1],
        "accuracy_tail": math.fsum(last) / len(last),
        "accuracy_best": max(values),
    }
