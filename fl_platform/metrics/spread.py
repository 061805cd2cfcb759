"""How far rows lie from their mean, read off the Gram that the round already has."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core.geometry import squared_distances_to
from fl_platform.core.updates import Updates


def offsets_sq(updates: Updates, index: Tensor | None = None) -> Tensor:
    """``(m,)`` float64 squared distances of the rows from their own mean; no pass over them.

    ``index`` picks rows; their mean is then the mean of the picked.
    """
    gram = updates.gram()
    if index is not None:
        gram = gram[index][:, index]
    rows = len(gram)
    return squared_distances_to(gram, torch.full((rows,), 1 / rows, dtype=torch.float64))
