"""Fang's attack on any defense: the strength that moves the aggregate most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor

from fl_platform.attacks.directions import Deviation, Side, toward
from fl_platform.attacks.line_search import line_maximise
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates
from fl_platform.metrics.spread import offsets_sq


@rule(label="Fang", shardable=True)
def fang(
    honest: Updates,
    num_byzantine: int,
    query: Callable[[Tensor], Tensor],
    *,
    deviation: Deviation = "sign",
    side: Side = "below",
    objective: Literal["directed", "distance"] = "directed",
    evaluations: Annotated[int, AtLeast(1)] = 16,
) -> Tensor:
    """The strength along one direction that moves the aggregate of the given defense most.

    .. math::
        g_b = \\bar g + \\lambda v,\\quad \\lambda = \\arg\\max\\;
        \\mathrm{sign}(\\bar g)^\\top(\\bar g - A(\\lambda))
        \\quad\\text{or}\\quad \\lVert A(\\lambda) - \\bar g\\rVert

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        query: rows ``(f, d)`` -> the aggregate ``(d,)`` of a copy of the defense, A(lambda).
        deviation: v is ``sign``, ``std`` or ``unit``.
        side: ``below`` or ``above``.
        objective: ``directed`` is Fang's sum of signed changes; ``distance`` the Euclidean
            one of the official STRIKE code's unused ``omn``.
        evaluations: number of queries to the defense, at least 1: strengths double from one
            honest radius while the objective rises, then narrow around the best one tried.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view; the honest mean where no tried strength was better.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: the objective of M. Fang, X. Cao, J. Jia, N. Gong, "Local Model Poisoning Attacks
    to Byzantine-Robust Federated Learning" (2020), maximised for any defense as in E. M. El
    Mhamdi, R. Guerraoui, S. Rouault, "Distributed Momentum for Byzantine-resilient Stochastic
    Gradient Descent" (2021). ``omn`` queries the defense of the run and so changes one with
    memory; here only copies are queried.
    """
    check_inputs(honest, num_byzantine)
    if objective not in ("directed", "distance"):
        raise ValueError(f"Expected objective directed or distance, got {objective!r}.")
    mean = honest.mean()
    direction = toward(honest, deviation, side)
    length = float(honest.length(direction))
    if num_byzantine == 0 or length == 0:
        return equal_rows(mean.clone(), num_byzantine)
    radius = math.sqrt(float(offsets_sq(honest).mean())) / length

    def score(strength: float) -> float:
        moved = query(equal_rows(mean + strength * radius * direction, num_byzantine)) - mean
        if objective == "distance":
            return float(honest.length(moved))
        return -float(honest.dot(mean.sign(), moved))

    best = line_maximise(score, evaluations=evaluations)
    return equal_rows(mean + best * radius * direction, num_byzantine)
