"""MinMax and MinSum: the largest distance from the honest mean that honest distances allow."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from fl_platform.attacks.directions import AnySide, Deviation, along, toward
from fl_platform.attacks.line_search import halve
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.deferred import Number, number, over
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates
from fl_platform.metrics.spread import offsets_sq, step_within

Search = Literal["closed", "halving"]


@rule(label="MinMax", shardable=True)
def min_max(
    honest: Updates,
    num_byzantine: int,
    *,
    deviation: Deviation = "std",
    side: AnySide = "against",
    search: Search = "closed",
) -> Tensor:
    """The farthest row that is no farther from any honest row than two honest rows are apart.

    .. math::
        g_b = \\bar g + \\gamma v,\\quad \\gamma^* = \\max\\{\\gamma :
        \\max_i \\lVert g_b - g_i\\rVert \\le \\max_{ij}\\lVert g_i - g_j\\rVert\\}

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        deviation: v is ``std`` (sigma), ``sign`` (sign of the mean) or ``unit`` (mean / its
            length); its length, hence sigma's denominator, has no effect.
        side: v is taken ``above`` (plus) or ``below`` (minus). Default: ``against``, the harmful
            side: ``above`` for ``std``, as in LIE, and ``below`` for ``sign`` and ``unit``, whose
            other side follows the honest mean.
        search: ``closed`` takes the smallest of the h roots; ``halving`` the loop of the
            official STRIKE code: start 10, tolerance 1e-5, never above 20, the last
            strength tried, which may violate the constraint by the tolerance.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: Optimizing Model
    Poisoning Attacks and Defenses for Federated Learning" (2021). Each constraint is convex in
    gamma and holds at 0, so the feasible strengths are [0, gamma*] and the closed form is what
    every search approaches. The paper's mean - gamma sigma is of gradients (``below``); the
    official STRIKE code's is of ``w_i - w``, which on our ``g = w - w_i`` is ``above``. With
    ``unit`` the limit of 20 of ``halving`` may be reached.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import min_max
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> min_max(honest, 1)
        tensor([[5.7633, 2.6047]])
    """
    check_inputs(honest, num_byzantine)
    direction = toward(honest, deviation, side)
    bound = number(honest.squared_distances().max())
    return equal_rows(stretched(honest, direction, bound, search), num_byzantine)


@rule(label="MinSum", shardable=True)
def min_sum(
    honest: Updates,
    num_byzantine: int,
    *,
    deviation: Deviation = "std",
    side: AnySide = "against",
    bound: Literal["largest", "smallest"] = "largest",
    search: Search = "closed",
) -> Tensor:
    """The farthest row whose summed squared distances do not exceed an honest row's.

    .. math::
        g_b = \\bar g + \\gamma v,\\quad
        \\sum_i\\lVert g_b - g_i\\rVert^2 \\le \\max_i\\sum_j\\lVert g_i - g_j\\rVert^2
        \\;\\Leftrightarrow\\;
        \\gamma \\le \\sqrt{\\max_i\\lVert g_i - \\bar g\\rVert^2 / \\lVert v\\rVert^2}

    Both sums are h times a squared distance from the mean plus h times the variance. In every
    direction the row therefore has the largest honest distance from the mean.

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0.
        deviation: as for ``min_max``: ``std``, ``sign`` or ``unit``.
        side: ``against``, ``above`` or ``below``, as for ``min_max``.
        bound: ``largest`` honest sum (the paper) or ``smallest`` (the authors' own code).
        search: ``closed`` or ``halving``, as for ``min_max``.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input, unknown names.

    Source: V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: Optimizing Model
    Poisoning Attacks and Defenses for Federated Learning" (2021).

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import min_sum
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> min_sum(honest, 1)
        tensor([[5.7927, 2.6172]])
    """
    check_inputs(honest, num_byzantine)
    if bound not in ("largest", "smallest"):
        raise ValueError(f"Expected bound largest or smallest, got {bound!r}.")
    direction = toward(honest, deviation, side)
    offsets = offsets_sq(honest)
    radius_sq = number(offsets.max() if bound == "largest" else offsets.min())
    direction_sq = honest.dot(direction, direction)
    if search == "closed":
        strength = over(radius_sq, direction_sq) ** 0.5
    elif search == "halving":
        direction_sq, radius_sq = float(direction_sq), float(radius_sq)
        strength = halve(lambda gamma: gamma * gamma * direction_sq <= radius_sq)
    else:
        raise ValueError(f"Expected search closed or halving, got {search!r}.")
    return equal_rows(honest.mean() + strength * direction, num_byzantine)


def stretched(honest: Updates, direction: Tensor, bound_sq: Number, search: Search) -> Tensor:
    """``(d,)`` mean + gamma * direction, for the largest gamma with every row within the bound."""
    offsets = offsets_sq(honest)
    inner = along(honest, honest.mean(), direction)
    direction_sq = honest.dot(direction, direction)
    if search == "closed":
        strength = step_within(offsets, inner, direction_sq, bound_sq)
    elif search == "halving":
        offsets, inner = offsets.cpu(), inner.cpu()
        direction_sq, bound_sq = float(direction_sq), float(bound_sq)

        def fits(gamma: float) -> bool:
            reached = offsets + 2 * gamma * inner + gamma * gamma * direction_sq
            return bool((reached <= bound_sq).all())

        strength = halve(fits)
    else:
        raise ValueError(f"Expected search closed or halving, got {search!r}.")
    return honest.mean() + strength * direction
