"""Selection by the defense: weight of Byzantine updates, honest updates left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fl_platform.core.deferred import Number, number, over
from fl_platform.core.rule import facts_of, settings_of
from fl_platform.core.updates import Updates


def selection(weights: Tensor, num_honest: int) -> dict[str, Number]:
    r"""Weights of honest and Byzantine rows in a rule with row weights.

    .. math:: \sum_{b > h} w_b, \quad \frac1h \left|\{i \le h : w_i = 0\}\right|, \quad
        \frac{(\sum_i |w_i|)^2}{\sum_i w_i^2}

    Args:
        weights: ``(m,)`` over all received rows, the honest ones first.
        num_honest: h, from 0 to m.

    Returns:
        ``byzantine_weight``: sum over Byzantine rows; f / m for the plain mean.
        ``honest_left_out``: share of honest rows with weight exactly 0.
        ``effective_rows``: the third value above, the effective number of rows, from 1 to m.

    Raises:
        ValueError: h is outside 0 to m.

    Example:
        >>> import torch
        >>> from fl_platform.metrics import selection
        >>> selection(torch.tensor([0.5, 0.0, 0.5]), num_honest=2)
        {'byzantine_weight': 0.5, 'honest_left_out': 0.5, 'effective_rows': 2.0}
    """
    if weights.ndim != 1 or not 0 <= num_honest <= len(weights):
        raise ValueError(
            f"Expected weights of shape (m,) and 0 <= num_honest <= m, got"
            f" {tuple(weights.shape)} and num_honest={num_honest}."
        )
    w = weights.double()
    left_out = number((w[:num_honest] == 0).double().mean()) if num_honest else 0.0
    squares = number(w.square().sum())
    return {
        "byzantine_weight": number(w[num_honest:].sum()),
        "honest_left_out": left_out,
        "effective_rows": over(number(w.abs().sum()) ** 2, squares),
    }


def byzantine_coordinates(
    updates: Updates, num_honest: int, trim: int | None = None, *, limit: int = 16384
) -> Number:
    r"""Share of Byzantine values among those that a coordinate-wise rule keeps.

    .. math:: \frac{1}{d (m - 2 t)} \sum_k
        \left|\{b > h : t < \mathrm{rank}_k(g_{b,k}) \le m - t\}\right|,
        \quad t = \text{trim}

    The rule sorts each coordinate and keeps all but the ``trim`` lowest and highest: trimmed
    mean keeps m - 2 trim values, the median one or two. The share is f / m for exchangeable rows
    and 0 if every Byzantine value is cut. A value sent by both sides counts as honest.

    Args:
        updates: ``(m, d)`` received rows, the honest ones first.
        num_honest: h, from 0 to m.
        trim: Number of values cut per end. Default: all but the middle one or two (median).
        limit: Maximum number of coordinates to examine, evenly spread.

    Returns:
        A share from 0 to 1.

    Raises:
        ValueError: No value is kept, or h is outside 0 to m.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics import byzantine_coordinates
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> byzantine_coordinates(updates, num_honest=4)  # none of the outlier's
        0.0
    """
    rows = len(updates)
    trim = (rows - 1) // 2 if trim is None else trim
    if not 0 <= num_honest <= rows or not 0 <= 2 * trim < rows:
        raise ValueError(
            f"Expected 0 <= num_honest <= m and 0 <= 2 trim < m, got m={rows},"
            f" num_honest={num_honest} and trim={trim}."
        )
    stride = -(-updates.dimension // limit)
    places = torch.arange(0, updates.dimension, stride, device=updates.device)
    order = updates.gathered(places).argsort(stable=True, dim=0)[trim : rows - trim]
    kept = updates.summed((order >= num_honest).double().sum())
    seen = updates.summed(torch.full_like(kept, order.numel()))
    return over(number(kept), number(seen))


def kept_coordinates(
    rule: Callable[..., Any], updates: Updates, num_honest: int, num_byzantine: int
) -> dict[str, Number]:
    """`byzantine_coordinates` over 1,024 coordinates, of a rule that states `Facts.trims`.

    Args:
        rule: The defense, or a partial of it.
        updates: ``(m, d)`` the rows that it was given, the honest ones first.
        num_honest: h, from 0 to m.
        num_byzantine: f as the rule assumed it.

    Returns:
        ``byzantine_coordinates``; empty if the rule is not known to sort coordinates.
    """
    trims = facts_of(rule).trims
    if trims is None:
        return {}
    trim = trims(len(updates), num_byzantine, **settings_of(rule))
    share = byzantine_coordinates(updates, num_honest, trim, limit=1024)
    return {"byzantine_coordinates": share}
