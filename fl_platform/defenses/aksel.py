"""Aksel: the mean of the rows nearest to the coordinate-wise median."""

from __future__ import annotations

import math
from typing import Literal

import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule
from fl_platform.defenses.median import MedianKind, median_kappa


def _kappa(n: int, f: int, *, center: MedianKind, keep: str) -> float | None:
    if keep != "half":
        return None
    middle, kept = median_kappa(n, f, kind=center), -(-n // 2)
    share = (n - f) / (n - f - kept + 1) if n - f >= kept else math.inf
    return (math.sqrt(share * (1 + middle)) + math.sqrt(middle)) ** 2


@rule(label="Aksel", tolerates=lambda n: (n - 1) // 2, kappa=_kappa, shardable=True)
def aksel(
    updates: Updates,
    num_byzantine: int,
    *,
    center: MedianKind = "midpoint",
    keep: Literal["half", "n-f"] = "half",
) -> Aggregate:
    r"""The mean of the rows no farther from the median than the median distance.

    .. math:: s_i = \|g_i - \operatorname{med}\|^2, \quad
        \hat g = \operatorname{mean}\{g_i : s_i \le \operatorname{med}(s)\}

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; used by ``n-f`` only.
        center: the median for even n, as in :func:`median`; ``upper`` as in the STRIKE authors'
            code.
        keep: ``half`` keeps every row up to the lower median distance, ties included
            (ceil(n / 2) rows without ties; the STRIKE authors' code); ``n-f`` keeps n - f rows,
            ties to the first (an option of ByzantineMomentum).

    Guarantees for ``half``, with k = ceil(n / 2) and kappa_med the constant of its median:
    kappa = (sqrt((n - f) / (n - f - k + 1) (1 + kappa_med)) + sqrt(kappa_med))^2.

    References:
        Boussetta et al., AKSEL: Fast Byzantine SGD, OPODIS 2020.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import aksel
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> aksel(updates, 1).weights
        tensor([0.0000, 0.3333, 0.3333, 0.3333, 0.0000], dtype=torch.float64)
    """
    if center not in ("midpoint", "lower", "upper") or keep not in ("half", "n-f"):
        raise ValueError(
            "Expected center as midpoint, lower or upper and keep as half or n-f,"
            f" got {center!r} and {keep!r}."
        )
    squares = updates.squared_distances_to(updates.median(center))
    if keep == "half":
        chosen = squares <= squares.median()
    else:
        chosen = torch.zeros_like(squares, dtype=torch.bool)
        chosen.scatter_(0, squares.argsort(stable=True)[: len(updates) - num_byzantine], True)
    weights = chosen.double() / chosen.sum()
    return Aggregate(updates.combine(weights), weights)
