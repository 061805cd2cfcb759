"""Coordinate-wise median and trimmed mean, a chunk of columns at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fl_platform.core.updates import Updates


def median(updates: Updates, kind: Literal["midpoint", "lower"] = "midpoint") -> Tensor:
    """``(d,)`` median of each coordinate; of two middle values their mean, or the lower one.

    Rows must hold no NaN. A median of zero is +0.

    Raises:
        ValueError: ``kind`` is neither of the two.
    """
    if kind not in ("midpoint", "lower"):
        raise ValueError(f"Expected kind 'midpoint' or 'lower', got {kind!r}.")
    m = len(updates)
    low = (m - 1) // 2
    return _mean_of_ranks(updates, low, low + 1 if kind == "lower" else m // 2 + 1)


def trimmed_mean(updates: Updates, trim: int) -> Tensor:
    """``(d,)`` mean of each coordinate without its ``trim`` smallest and ``trim`` largest values.

    Raises:
        ValueError: ``trim`` is negative or leaves no value.
    """
    m = len(updates)
    if not 0 <= 2 * trim < m:
        raise ValueError(
            f"Expected 0 <= trim < {m} / 2 so that a value is left of {m} rows, got trim={trim}."
        )
    return _mean_of_ranks(updates, trim, m - trim)


def _mean_of_ranks(updates: Updates, first: int, stop: int) -> Tensor:
    out = torch.empty(updates.dimension, dtype=updates.dtype, device=updates.device)
    for part, chunk in updates.columns():
        ordered = chunk.sort(0).values
        total = ordered[first].clone()
        for rank in range(first + 1, stop):
            total += ordered[rank]
        out[part] = total / (stop - first) + 0.0
    return out
