"""LIE and IPM at the strength that moves the aggregate of the given defense most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor

from fl_platform.attacks.directions import std_of
from fl_platform.attacks.line_search import expand_and_contract, line_maximise
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates

LineSearch = Literal["doubling", "byzfl"]


@rule(label="optimal ALIE", shardable=True)
def optimal_alie(
    honest: Updates,
    num_byzantine: int,
    query: Callable[[Tensor], Tensor],
    *,
    side: Literal["both", "below", "above"] = "both",
    ddof: Literal[0, 1] = 0,
    search: LineSearch = "doubling",
    evaluations: Annotated[int, AtLeast(1)] = 16,
) -> Tensor:
    """LIE with the z whose aggregate lies farthest from the honest mean.

    .. math:: g_b = \\bar g \\mp z\\,\\sigma,\\quad
        z = \\arg\\max \\lVert A(z) - \\bar g\\rVert

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        query: rows ``(f, d)`` -> the aggregate ``(d,)`` of a copy of the defense, A(z).
        side: ``below`` subtracts, ``above`` adds (ByzFL), ``both`` searches both and keeps the
            better one, at twice the cost.
        ddof: 0 divides the variance by h, 1 by h - 1 (ByzFL).
        search: ``doubling``: strengths double while the distance rises, then narrow around the
            best one tried; ``byzfl``: steps from 10 that only move up and shrink by 0.8.
        evaluations: number of queries to the defense per side, at least 1; 20 in ByzFL.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view; the honest mean where no tried strength was better.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: ByzFL's ``Optimal_ALittleIsEnough`` after V. Shejwalkar, A. Houmansadr,
    "Manipulating the Byzantine" (2021), a search of the strength of any direction; this direction
    is that of G. Baruch, M. Baruch, Y. Goldberg, "A Little Is Enough" (2019).
    """
    check_inputs(honest, num_byzantine)
    if side not in ("both", "below", "above"):
        raise ValueError(f"Expected side both, below or above, got {side!r}.")
    direction = std_of(honest, ddof)
    directions = {"below": [-direction], "above": [direction], "both": [-direction, direction]}[
        side
    ]
    found = [farthest(honest, num_byzantine, query, one, search, evaluations) for one in directions]
    return equal_rows(max(found, key=lambda one: one[0])[1], num_byzantine)


@rule(label="optimal IPM", shardable=True)
def optimal_ipm(
    honest: Updates,
    num_byzantine: int,
    query: Callable[[Tensor], Tensor],
    *,
    search: LineSearch = "doubling",
    evaluations: Annotated[int, AtLeast(1)] = 16,
) -> Tensor:
    """IPM with the scale whose aggregate lies farthest from the honest mean.

    .. math:: g_b = -\\epsilon\\, \\bar g,\\quad
        \\epsilon = \\arg\\max \\lVert A(\\epsilon) - \\bar g\\rVert

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        query: rows ``(f, d)`` -> the aggregate ``(d,)`` of a copy of the defense, A(epsilon).
        search: as in ``optimal_alie``; ``byzfl`` may stop far below the best strength.
        evaluations: number of queries to the defense, at least 1; 20 in ByzFL.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view; zeros where no tried strength was better.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: ByzFL's ``Optimal_InnerProductManipulation``; the direction is that of C. Xie,
    O. Koyejo, I. Gupta, "Fall of Empires" (2020).
    """
    check_inputs(honest, num_byzantine)
    mean = honest.mean()
    origin = mean * 0
    found = farthest(honest, num_byzantine, query, -mean, search, evaluations, origin)
    return equal_rows(found[1], num_byzantine)


def farthest(
    honest: Updates,
    num_byzantine: int,
    query: Callable[[Tensor], Tensor],
    direction: Tensor,
    search: LineSearch,
    evaluations: int,
    start: Tensor | None = None,
) -> tuple[float, Tensor]:
    """Distance of the aggregate from the honest mean for the best start + z direction; that row."""
    if search not in ("doubling", "byzfl"):
        raise ValueError(f"Expected search doubling or byzfl, got {search!r}.")
    mean = honest.mean()
    start = mean if start is None else start
    if num_byzantine == 0:
        return 0.0, start

    def score(strength: float) -> float:
        moved = query(equal_rows(start + strength * direction, num_byzantine))
        value = float(honest.length(moved - mean))
        return value if math.isfinite(value) else -math.inf

    if search == "doubling":
        best = line_maximise(score, evaluations=evaluations)
    else:
        best = expand_and_contract(score, evaluations=evaluations)
    return score(best), start + best * direction
