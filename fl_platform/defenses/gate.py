"""The input check: rows that are not finite or absurdly large are removed before any rule."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Updates

ABSURD = 1e12
# Beyond these, sums of rows (float32) or squares of squared distances (float64) overflow.
LARGEST = {torch.float32: 1e36, torch.float64: 1e70}


def accepted(updates: Updates) -> Tensor:
    """``(n,)`` mask of the rows that are finite and at most ``1e12`` times the median size.

    A row's size is its largest absolute coordinate; the median is the lower one over the finite
    rows, so for f < n / 2 it is an honest row's or lies between two of them. Where it is zero the
    limit is ``1e12`` itself: a round in which most clients send zeros has no scale. A row beyond
    1e36 (float64: 1e70) is never accepted. One pass over the matrix; in every later rule squares
    and sums of rows stay finite.

    A removed row is faulty in any case, so the chain also lowers f by the number of removed
    rows. No paper has this step: without it NaN rows pass through most published implementations
    of the rules.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses.gate import accepted
        >>> accepted(Updates(torch.tensor([[1.0], [2.0], [float("nan")]]))).tolist()
        [True, True, False]
    """
    sizes = updates.magnitudes()
    finite = sizes.isfinite()
    count = finite.sum()  # sizes that are not finite count as infinite, so they are sorted last
    middle = ((count - 1).clamp_min(0) // 2)[None]
    typical = sizes.sort().values.index_select(0, middle)[0]
    limit = torch.where(typical > 0, ABSURD * typical, ABSURD).clamp_max(LARGEST[updates.dtype])
    return finite & (sizes <= limit)
