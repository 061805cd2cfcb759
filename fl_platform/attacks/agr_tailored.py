"""AGR-tailored: the strength search of Shejwalkar and Houmansadr (2021) for a known defense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor

from fl_platform.attacks.directions import AnySide, Deviation, toward
from fl_platform.attacks.line_search import halve
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import Above
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="AGR-tailored", shardable=True)
def agr_tailored(
    honest: Updates,
    num_byzantine: int,
    query: Callable[[Tensor], Tensor],
    *,
    target: Literal["any", "krum"] = "any",
    deviation: Deviation = "std",
    side: AnySide = "against",
    start: Annotated[float, Above(0)] = 10.0,
    tolerance: Annotated[float, Above(0)] = 1e-5,
) -> Tensor:
    """The row mean + gamma v, gamma by the paper's halving search with the defense as oracle.

    .. math:: \\arg\\max_\\gamma \\lVert \\bar g - A(\\gamma)\\rVert,\\quad
        g_b = \\bar g + \\gamma v

    The search starts at ``start``. Each step has half the length of the last one: up if the
    oracle accepts the strength, else down. It ends when the last accepted strength and the next
    one differ by at most ``tolerance``.

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        query: rows ``(f, d)`` -> the aggregate ``(d,)`` of a copy of the defense, A(gamma).
        target: the oracle. ``any``: the aggregate is farther from the honest mean than at every
            strength accepted before (their attack on trimmed mean and median). ``krum``: the
            aggregate is the Byzantine row itself (their attack on Krum). Their attacks on
            Multi-Krum and Bulyan need the set of kept rows, which an aggregate does not contain.
        deviation: v is ``std`` (sigma), ``sign`` or ``unit``, as for ``min_max``.
        side: ``against``, ``above`` or ``below``, as for ``min_max``.
        start: gamma of the first query, above 0; the search reaches at most twice this strength.
        tolerance: the difference at which the search ends, above 0.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view; the honest mean where no strength was accepted.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: Optimizing Model
    Poisoning Attacks and Defenses for Federated Learning" (2021), Algorithm 1. ``fang`` with
    ``objective=distance`` maximises the same distance, with a search that also works for a
    defense that drops a row from some strength on.
    """
    check_inputs(honest, num_byzantine)
    if target not in ("any", "krum"):
        raise ValueError(f"Expected target any or krum, got {target!r}.")
    mean, direction = honest.mean(), toward(honest, deviation, side)
    if num_byzantine == 0 or honest.length(direction) == 0:
        return equal_rows(mean, num_byzantine)
    best, accepted = 0.0, 0.0

    def succeeds(gamma: float) -> bool:
        nonlocal best, accepted
        row = mean + gamma * direction
        answer = query(equal_rows(row, num_byzantine))
        if target == "krum":
            success = bool(honest.length(answer - row) <= 1e-6 * honest.length(row - mean))
        else:
            moved = float(honest.length(answer - mean))
            success = moved > best
            best = max(best, moved)
        accepted = gamma if success else accepted
        return success

    halve(succeeds, start=start, tolerance=tolerance)
    return equal_rows(mean + accepted * direction, num_byzantine)
