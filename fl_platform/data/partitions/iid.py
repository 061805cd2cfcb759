"""Equal shares of the shuffled images."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.data.partitions.base import Partition, check_enough


def iid(labels: Tensor, num_clients: int, seed: int) -> Partition:
    """Deals the shuffled images out in equal shares (sizes differ by one at most).

    Args:
        labels: ``(N,)`` int64; only their number matters.
        num_clients: n, at least 1 and at most N.
        seed: the run's seed; the order comes from its stream "partition".

    Raises:
        DataError: there are fewer images than clients.
    """
    check_enough(len(labels), num_clients, minimum=1)
    order = torch.randperm(len(labels), generator=generator(seed, "partition"))
    return Partition(tuple(part.sort().values for part in order.tensor_split(num_clients)))
