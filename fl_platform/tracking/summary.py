"""A run's accuracy in numbers: at the end, over the last evaluations, at the best round."""

from __future__ import annotations

import math

from fl_platform.tracking.history import History

ACCURACY = "test/accuracy"
VALIDATION = "validation/accuracy"
NAMES = ("accuracy_last", "accuracy_tail", "accuracy_best", "test_at_best_validation")


def accuracies(history: History, *, tail: int = 10, diverged: bool = False) -> dict[str, float]:
    """``accuracy_last``, ``accuracy_tail`` and ``accuracy_best`` in percent.

    The best one is selected on the test set and labelled so wherever it is shown.
    ``test_at_best_validation`` is selected on validation samples: the accuracy on the test set in
    the round of the highest validation accuracy, the first of equal ones. NaN without
    evaluations, and for a run that diverged, whose last numbers have no meaning.
    """
    values = [100 * value for _, value in history.curve(ACCURACY)]
    if not values or diverged or not all(map(math.isfinite, values)):
        return dict.fromkeys(NAMES, math.nan)
    last = values[-tail:]
    return {
        "accuracy_last": values[-1],
        "accuracy_tail": math.fsum(last) / len(last),
        "accuracy_best": max(values),
        "test_at_best_validation": _at_best_validation(history),
    }


def _at_best_validation(history: History) -> float:
    test = dict(history.curve(ACCURACY))
    both = [(value, step) for step, value in history.curve(VALIDATION) if step in test]
    if not both:
        return math.nan
    _, best = max(both, key=lambda pair: (pair[0], -pair[1]))
    return 100 * test[best]
