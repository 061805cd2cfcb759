"""Partition in shards of the sorted images."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core.constraints import AtLeast
from fl_platform.core.rng import generator
from fl_platform.data.partitions.partition import Partition, check_enough, in_order


def shards(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    per_client: Annotated[int, AtLeast(1)] = 2,
) -> Partition:
    """Partition of equal shards of the images, sorted by class, to random clients.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least 1.
        seed: Seed of the data; the order of shards comes from its stream "partition".
        per_client: Shards per client, about the number of its classes.

    Raises:
        DataError: There are fewer images than shards.

    References:
        H. B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
        Data, AISTATS 2017.
    """
    check_enough(len(labels), num_clients, per_client, "lower partition.per_client")
    pieces = labels.argsort(stable=True).tensor_split(num_clients * per_client)
    order = torch.randperm(len(pieces), generator=generator(seed, "partition")).tolist()
    return in_order(
        [torch.cat([pieces[i] for i in order[c::num_clients]]) for c in range(num_clients)]
    )
