"""Order statistics of the magnitudes of a row, exact, without a sort of the row."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core.deferred import on_device

WORTH_SAMPLING = 1 << 17  # entries; below, a selection among all of them is as fast
SAMPLE, PIECE = 1 << 13, 1 << 16


def magnitude_quantile(row: Tensor, share: float) -> Tensor:
    """The quantile of the ``(d,)`` magnitudes, linear between two; no limit on d.

    Args:
        row: without NaN.
        share: from 0 to 1.

    Example:
        >>> import torch
        >>> from fl_platform.core.order_statistics import magnitude_quantile
        >>> magnitude_quantile(torch.tensor([-4.0, 1.0, 2.0]), 0.75)
        tensor(3.)
    """
    place = share * (len(row) - 1)
    low = int(place)
    first, second = magnitudes_of_ranks(row, low, min(low + 1, len(row) - 1))
    return first + (place - low) * (second - first)


def magnitudes_of_ranks(row: Tensor, *ranks: int) -> list[Tensor]:
    """The magnitudes of ascending ranks, counted from 0.

    A sample gives two bounds between which the ranks lie almost always. One pass counts what is
    below and keeps what is between; where the counts show that a rank lies outside, all are sorted.
    """
    if len(row) < WORTH_SAMPLING or on_device(row):
        return _selected(row.abs(), ranks)
    sample = row[:: len(row) // SAMPLE].abs().sort().values
    share = torch.tensor([ranks[0], ranks[-1]], dtype=torch.float64) / len(row)
    reach = 4 * (share * (1 - share) * len(sample)).sqrt() + 4
    first, last = (share * len(sample) + torch.stack([-reach[0], reach[1]])).tolist()
    low = sample[int(first)] if first >= 0 else sample.new_tensor(-1.0)
    high = sample[int(last)] if last < len(sample) else sample.new_tensor(torch.inf)
    below, between = 0, []
    for piece in row.split(PIECE):
        sizes = piece.abs()
        above = sizes[sizes >= low]
        below += len(sizes) - len(above)
        between.append(above[above <= high])
    kept = torch.cat(between)
    if below <= ranks[0] and ranks[-1] < below + len(kept):
        return _selected(kept, [rank - below for rank in ranks])
    return _selected(row.abs(), ranks)


def _selected(values: Tensor, ranks: tuple[int, ...] | list[int]) -> list[Tensor]:
    return [values.kthvalue(rank + 1).values for rank in ranks]
