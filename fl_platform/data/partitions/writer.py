"""Natural partition by writer."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.data.partitions.partition import Partition


def by_writer(writers: Tensor) -> Partition:
    """Natural partition: one client per writer, in the order of the writers' numbers.

    Args:
        writers: ``(N,)`` int64, writer of each training image.
    """
    return Partition(
        tuple(torch.nonzero(writers == writer).flatten() for writer in writers.unique().tolist())
    )
