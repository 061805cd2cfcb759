"""One-dimensional searches over an attack's strength, as the papers state them.

The attacks use closed forms where they exist; these loops are the procedures of the papers, for
the other cases and as references. Each evaluates a condition or a score of one strength.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def bisect(fits: Callable[[float], bool], *, high: float = 10.0, tolerance: float = 1e-5) -> float:
    """The feasible end of a bisection on [0, high]; ``high`` itself if it is feasible.

    Correct if the feasible strengths are an interval that starts at 0.

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
        if middle in (low, high):  # neighbours: there is no number between them
            break
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def halve(fits: Callable[[float], bool], *, start: float = 10.0, tolerance: float = 1e-5) -> float:
    """The last strength tried by a search that steps up or down by half of its last step.

    It never exceeds 2 * start, and the result may be infeasible by the tolerance: both as in the
    loop of the official STRIKE code, which its MinMax and MinSum use.

    Example:
        >>> from fl_platform.attacks.line_search import halve
        >>> round(halve(lambda step: step <= 2.5), 3)
        2.5
    """
    strength, step, known = start, start, 0.0
    while abs(known - strength) > tolerance:
        step /= 2
        if strength + step == strength - step:  # too small a step to change the strength
            break
        if fits(strength):
            known = strength
            strength += step
        else:
            strength -= step
    return strength


def line_maximise(
    score: Callable[[float], float], *, start: float = 1.0, evaluations: int = 16
) -> float:
    """The best tried strength: doubling while the score rises, then narrowing around the best.

    Scores may have several peaks (a defense may drop a row from some strength on), so the best
    tried strength is returned, not the last; scores that are not finite are never the best.
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

    It only moves up from the best strength so far: a first step beyond a narrow peak is not
    undone, and if no step improves the score the result is 0.
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
