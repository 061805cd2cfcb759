"""IID partition."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.data.partitions.partition import Partition, check_enough


def iid(labels: Tensor, num_clients: int, seed: int) -> Partition:
    """Partition into equal shares of the shuffled images (sizes differ by at most one).

    Args:
        labels: ``(N,)`` int64; only their number is used.
        num_clients: n, from 1 to N.
        seed: Seed of the data; the order comes from its stream "partition".

    Raises:
        DataError: There are fewer images than clients.
    """
    check_enough(len(labels), num_clients)
    order = torch.randperm(len(labels), generator=generator(seed, "partition"))
    return Partition(tuple(part.sort().values for part in order.tensor_split(num_clients)))
