"""STRIKE: find the skewed honest updates, then place the Byzantine ones among them."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from fl_platform.attacks.line_search import bisect
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast, Between
from fl_platform.core.deferred import Number
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates
from fl_platform.metrics.skewed_set import (
    HidingSpace,
    MedianStart,
    search_direction,
    skewed,
    skewed_size,
)

Search = Literal["closed", "bisection"]
Outnumbered = Literal["single", "push"]


@rule(label="STRIKE", shardable=True)
def strike(
    honest: Updates,
    num_byzantine: int,
    *,
    nu: Annotated[float, AtLeast(0)] = 1.0,
    median: MedianStart = "midpoint",
    search: Search = "closed",
    share: Annotated[float, Between(0, 1)] | None = None,
    outnumbered: Outnumbered = "single",
) -> Tensor:
    """Rows within the skewed honest updates, as far from the mean as their diameter allows.

    .. math::
        u &= g_{med} - \\bar g \\quad\\text{(6)} \\qquad
        S = \\text{the } n - 2f \\text{ highest } \\langle g_i, u\\rangle \\quad\\text{(7, 8)}\\\\
        g_b &= \\bar g_S + \\nu\\,\\alpha^*\\,
        \\mathrm{sign}(\\bar g_S - \\bar g)\\odot\\sigma_S \\quad\\text{(12)}\\\\
        \\alpha^* &= \\max\\{\\alpha : \\lVert g_b - g_s\\rVert \\le D_S\\ \\forall s \\in S\\}
        \\quad\\text{(9, 13)}

    Args:
        honest: ``(h, d)`` honest updates.
        num_byzantine: f >= 0; with all honest rows known h = n - f and S has h - f rows.
        nu: strength >= 0; 1 reaches the diameter, above 1 exceeds it by design.
        median: the middle value for an even h, towards which the search starts.
        search: ``closed`` solves the quadratics exactly; ``bisection`` on [0, 10] to 1e-5 is
            the paper's Appendix C as in the official code, kept as the reference.
        share: the part of the known rows that is in S, at least one row; ``None``: h - f of
            them. With partial knowledge set (n - 2f) / (n - f), as in the official code.
        outnumbered: the rows to send where h <= f, which the paper (f < n / 2) leaves open and
            which occurs in sampled rounds. ``single``: S is the one row of highest projection,
            and that row is sent. ``push``: the official code's mean + 10 (median - mean), and
            -10 mean where h = 1; unbounded where all other attacks are bounded.

    Returns:
        ``(f, d)`` equal rows, a stride-0 view. Where S has no spread (equal rows, one row) or
        no side (mean of S equal to the mean) these are copies of the mean of S.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Source: Y. Liu et al., "Exploit Gradient Skewness to Circumvent Byzantine Defenses for
    Federated Learning" (2025) and its official code. Eq. 13 as printed lacks the index s and
    has sign(mean of S); like the code we use eq. 9 and eq. 12, since otherwise alpha = 0 may be
    infeasible. S has exactly h - f rows; the code's int((h - f) / h * h) is one too few by
    rounding for some (h, f), e.g. (22, 7). Where S is all rows, sign(0) is replaced by sign(u).

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import strike
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> strike(honest, 1, nu=1.0)
        tensor([[ 0.2756, -0.1155]])
        >>> strike(nu=0.0)(honest, 1)  # the mean of S itself
        tensor([[0.6667, 0.6667]])
    """
    check_inputs(honest, num_byzantine)
    if num_byzantine == 0:
        return equal_rows(honest.mean(), 0)
    rows = len(honest)
    if rows <= num_byzantine and share is None and outnumbered == "push":
        return equal_rows(push(honest, median), num_byzantine)
    found = skewed(honest, skewed_size(rows, num_byzantine, share), median)
    return equal_rows(hidden_row(found.space, nu, search), num_byzantine)


def hidden_row(space: HidingSpace, nu: float = 1.0, search: Search = "closed") -> Tensor:
    """``(d,)`` eq. 12 at nu times the largest step."""
    return space.centre + nu * strength(space, search) * space.direction


def strength(space: HidingSpace, search: Search = "closed") -> Number:
    """alpha*: largest step whose distance to every row of S is within the diameter (eq. 13)."""
    if search == "closed":
        return space.largest_step()
    if search != "bisection":
        raise ValueError(f"Expected search closed or bisection, got {search!r}.")
    direction_sq, diameter_sq = float(space.direction_sq), float(space.diameter_sq)
    if direction_sq == 0:
        return 0.0
    offsets_sq, along = space.offsets_sq.cpu(), space.along.cpu()

    def fits(step: float) -> bool:
        reached = offsets_sq + 2 * step * along + step * step * direction_sq
        return bool((reached <= diameter_sq).all())

    return bisect(fits)


def push(honest: Updates, median: MedianStart) -> Tensor:
    """``(d,)`` row of the official code where the Byzantine rows are a majority."""
    if len(honest) == 1:
        return -10 * honest.mean()
    return honest.mean() + 10 * search_direction(honest, median)
