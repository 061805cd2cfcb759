"""What no rule should ever see: rows that are not finite or absurdly large."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Updates

ABSURD = 1e12
# Beyond these, sums of rows (float32) or squares of squared distances (float64) overflow.
LARGEST = {torch.float32: 1e36, torch.float64: 1e70}


def accepted(updates: Updates) -> Tensor:
    """``(n,)`` whether each row is finite and at most ``1e12`` times the median row's size.

    A row's size is its largest absolute coordinate; the median is the lower one over the finite
    rows, so it is an honest row's or lies between two of them while f < n / 2. Where it is zero
    the limit is ``1e12`` itself: a round in which most clients send zeros has no scale to judge
    by. Never is a row accepted beyond 1e36 (float64: 1e70). One pass over the matrix; every rule
    that follows may count on squares and sums of rows staying finite.

    A row that fails is certainly faulty, whoever sent it, so the chain also lowers f by the
    number of refused rows. No paper has this step: without it NaN rows pass through most
    published implementations of the rules.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses.gate import accepted
        >>> accepted(Updates(torch.tensor([[1.0], [2.0], [float("nan")]]))).tolist()
        [True, True, False]
    """
    sizes = updates.magnitudes()
    finite = sizes.isfinite()
    count = finite.sum()  # sizes are infinite where they are not finite, so these come last
    middle = ((count - 1).clamp_min(0) // 2)[None]
    typical = sizes.sort().values.index_select(0, middle)[0]
    limit = torch.where(typical > 0, ABSURD * typical, ABSURD).clamp_max(LARGEST[updates.dtype])
    return finite & (sizes <= limit)
