"""Distances of rows from their mean, and the largest step within a distance bound."""

from __future__ import annotations

from torch import Tensor

from fl_platform.core.deferred import Number, assumed, finite
from fl_platform.core.geometry import largest_step, squared_distances_to
from fl_platform.core.updates import Updates


def offsets_sq(updates: Updates, index: Tensor | None = None) -> Tensor:
    """``(m,)`` float64 squared distances of the rows from their mean, from the Gram.

    ``index`` selects rows; the mean is then the mean of the selection.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.metrics.spread import offsets_sq
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> offsets_sq(honest)
        tensor([ 5.,  2.,  2., 17.], dtype=torch.float64)
    """
    gram = updates.gram()
    if index is not None:
        gram = gram[index][:, index]
    rows = len(gram)
    return squared_distances_to(gram, gram.new_full((rows,), 1 / rows))


def step_within(offsets_sq: Tensor, along: Tensor, step_sq: Number, bound_sq: Number) -> Number:
    """``core.geometry.largest_step``, or 0 if honest rows are not finite.

    The crafted row is then not finite either; the input check before the defense drops and counts
    it. An attack or a metric must not end the run.
    """
    if not assumed(finite(step_sq) & finite(bound_sq)):
        return 0.0
    return largest_step(offsets_sq, along, step_sq, bound_sq)
