"""The check of the server's own update, for rules that compare rows with it."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core import Updates


def check_reference(updates: Updates, reference: Tensor | None, name: str) -> Tensor:
    """The server's own update ``(d,)``, on the device of the rows.

    Raises:
        ValueError: no reference, or one of another dimension, or not finite.
    """
    if reference is None or reference.shape != (updates.dimension,):
        shape = f" of shape ({updates.dimension},)" if reference is not None else ""
        got = "none" if reference is None else f"shape {tuple(reference.shape)}"
        raise ValueError(
            f"Expected a reference{shape} for {name}, an update that the server trained on data of"
            f" its own, got {got}; set task.root_samples in a run, or pass reference=."
        )
    own = reference.detach().to(device=updates.device, dtype=updates.dtype)
    if not bool(torch.stack(own.aminmax()).isfinite().all()):  # NaN spreads through both
        raise ValueError(f"Expected a finite reference for {name}, got one that is not.")
    return own
