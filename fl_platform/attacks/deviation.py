"""The directions in which MinMax, MinSum, LIE and Fang move away from the honest mean."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from fl_platform.core.updates import Updates

Side = Literal["below", "above"]
Deviation = Literal["std", "sign", "unit"]


def deviation(honest: Updates, kind: Deviation, side: Side = "below") -> Tensor:
    """``(d,)`` the way from the honest mean to the Byzantine row, of any length.

    ``std``: :math:`\\mp\\sigma`; ``sign``: :math:`\\mp\\mathrm{sign}(\\mu)`; ``unit``:
    :math:`\\mp\\mu/\\lVert\\mu\\rVert`; minus for ``below``, plus for ``above``.
    """
    if kind == "std":
        way = honest.std()
    elif kind == "sign":
        way = honest.mean().sign()
    elif kind == "unit":
        mean = honest.mean()
        length = float(mean.double().norm())
        way = mean / length if length > 0 else torch.zeros_like(mean)
    else:
        raise ValueError(f"Expected deviation std, sign or unit, got {kind!r}.")
    return way if sign_of(side) > 0 else -way


def sign_of(side: Side) -> float:
    """-1 below the mean, +1 above it."""
    if side not in ("below", "above"):
        raise ValueError(f"Expected side below or above, got {side!r}.")
    return -1.0 if side == "below" else 1.0


def std_of(honest: Updates, ddof: int) -> Tensor:
    """``(d,)`` standard deviation of the rows with h - ddof in the denominator."""
    rows = len(honest)
    if ddof == 0 or rows == 1:
        return honest.std()
    return honest.std() * math.sqrt(rows / (rows - ddof))


def along(honest: Updates, centre: Tensor, way: Tensor) -> Tensor:
    """``(h,)`` float64: :math:`\\langle c - g_i, v\\rangle`, one pass over the matrix.

    The rows are centred before the product, a chunk at a time: at a common offset of 1e4 the
    product of uncentred float32 rows would have lost every digit.
    """
    total = honest.matrix.new_zeros(len(honest), dtype=torch.float64)
    for part, rows in honest.columns():
        total += (centre[part] - rows).mv(way[part]).double()
    return total
