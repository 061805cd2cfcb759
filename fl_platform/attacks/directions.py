"""The directions of MinMax, MinSum, LIE and Fang, from the honest mean to the Byzantine row."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from fl_platform.core.deferred import chosen
from fl_platform.core.updates import Updates

Side = Literal["below", "above"]
AnySide = Literal["against", "below", "above"]
Deviation = Literal["std", "sign", "unit"]


def toward(honest: Updates, kind: Deviation, side: AnySide = "against") -> Tensor:
    """``(d,)`` direction from the honest mean to the Byzantine row, of any length.

    ``std``: :math:`\\mp\\sigma`; ``sign``: :math:`\\mp\\mathrm{sign}(\\mu)`; ``unit``:
    :math:`\\mp\\mu/\\lVert\\mu\\rVert`; minus for ``below``, plus for ``above``. ``against`` is
    the harmful side: ``below`` for ``sign`` and ``unit``, whose other side goes the way of the
    honest mean, and ``above`` for ``std`` (see :func:`fl_platform.attacks.lie`).
    """
    if side == "against":
        side = "above" if kind == "std" else "below"
    if kind == "std":
        direction = honest.std()
    elif kind == "sign":
        direction = honest.mean().sign()
    elif kind == "unit":
        mean = honest.mean()
        length = honest.length(mean)
        direction = chosen(length > 0, lambda: mean / length, torch.zeros_like(mean))
    else:
        raise ValueError(f"Expected deviation std, sign or unit, got {kind!r}.")
    return direction if sign_of(side) > 0 else -direction


def sign_of(side: Side) -> float:
    """-1 for ``below`` the mean, +1 for ``above``."""
    if side not in ("below", "above"):
        raise ValueError(f"Expected side below or above, got {side!r}.")
    return -1.0 if side == "below" else 1.0


def std_of(honest: Updates, ddof: int) -> Tensor:
    """``(d,)`` standard deviation of the rows with h - ddof in the denominator."""
    rows = len(honest)
    if ddof == 0 or rows == 1:
        return honest.std()
    return honest.std() * math.sqrt(rows / (rows - ddof))


def along(honest: Updates, point: Tensor, direction: Tensor) -> Tensor:
    """``(h,)`` float64 <p - g_i, v>, one pass over the matrix."""
    from_centre = honest.dot(point.double() - honest.centre().double(), direction)
    return from_centre - honest.project(direction)
