"""One-dimensional searches over an attack's strength, as the papers state them.

The attacks use closed forms; these loops are the stated procedures, kept as references and for
what has no closed form. Each asks a yes/no or a number of one strength and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def bisect(fits: Callable[[float], bool], *, high: float = 10.0, tolerance: float = 1e-5) -> float:
    """The feasible end of a bisection on [0, high]; ``high`` itself where that fits.

    Correct where the strengths that fit are an interval from 0 on.

    Example:
        >>> from fl_platform.attacks.line_search import bisect
        >>> round(bisect(lambda step: step <= 2.5), 3)
        2.5
    """
    if fits(high):
        return high
    low = 0.0
    while high - low > tolerance:
        middle = (low + high) / 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def halve(fits: Callable[[float], bool], *, start: float = 10.0, tolerance: float = 1e-5) -> float:
    """The last strength tried by a search that steps up or down by half of its last step.

    It never passes 2 * start, and what it returns may miss feasibility by the tolerance: both
    are the loop of the official STRIKE code, whose MinMax and MinSum end on it.

    Example:
        >>> from fl_platform.attacks.line_search import halve
        >>> round(halve(lambda step: step <= 2.5), 3)
        2.5
    """
    strength, step, known = start, start, 0.0
    while abs(known - strength) > tolerance:
        step /= 2
        if fits(strength):
            known = strength
            strength += step
        else:
            strength -= step
    return strength


def line_maximise(
    score: Callable[[float], float], *, start: float = 1.0, evaluations: int = 16
) -> float:
    """The best strength tried: doubling while the score rises, then narrowing around the best.

    Scores need not have one peak (a defense may drop a row from some strength on), so the best
    point ever tried is returned, not the last; scores that are not finite lose.
    """
    best, best_score, step, left = 0.0, -math.inf, start, evaluations

    def better(strength: float) -> bool:
        nonlocal best, best_score, left
        left -= 1
        value = score(strength)
        if not (math.isfinite(value) and value > best_score):
            return False
        best, best_score = strength, value
        return True

    better(0.0)
    while left > 0 and better(best + step):
        step *= 2
    while left > 0:
        step /= 2
        if better(best + step) or left <= 0 or best < step:
            continue
        better(best - step)
    return best


def expand_and_contract(
    score: Callable[[float], float],
    *,
    evaluations: int = 20,
    step: float = 10.0,
    ratio: float = 0.8,
) -> float:
    """ByzFL's line search from 0: steps double while the score rises, then shrink by ``ratio``.

    It only ever moves up from the best strength so far, so a first step beyond a narrow peak is
    not undone, and where no step helps the answer is 0.
    """
    best, best_score, left = 0.0, score(0.0), evaluations - 1
    rising = True
    while left > 0:
        value = score(best + step)
        left -= 1
        better = value > best_score
        if better:
            best, best_score = best + step, value
        if rising and better:
            step *= 2
        else:
            rising = False
            step *= ratio
    return best
