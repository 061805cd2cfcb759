"""The data's own partition."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.data.partitions.base import Partition


def by_writer(writers: Tensor) -> Partition:
    """One client a writer, in the order of the writers' numbers: the data's own partition.

    Args:
        writers: ``(N,)`` int64, who made each training image.
    """
    return Partition(
        tuple(torch.nonzero(writers == writer).flatten() for writer in writers.unique().tolist())
    )
