"""Partition with unequal sizes and equal class distributions."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.rng import generator, stream_seed
from fl_platform.data.partitions.partition import Partition, check_enough, fill_up, in_order


def quantity_skew(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    beta: Annotated[float, Above(0)] = 0.5,
    minimum: Annotated[int, AtLeast(1)] = 1,
) -> Partition:
    """Partition of the shuffled images in shares drawn from a Dirichlet distribution.

    .. math:: p \\sim \\mathrm{Dir}_n(\\beta), \\quad \\text{client } i
        \\text{ gets a share } p_i \\text{ of all images}

    Images then move one by one from the largest client to clients below ``minimum``
    (`Partition.moved`).

    Args:
        labels: ``(N,)`` int64; only their number is used.
        num_clients: n, at least 1.
        seed: Seed of the data; shares and order come from its stream "partition".
        beta: Concentration, above 0. Small: few large clients.
        minimum: Smallest number of images per client.

    Raises:
        DataError: There are fewer than ``num_clients * minimum`` images.

    References:
        Q. Li et al., Federated Learning on Non-IID Data Silos, ICDE 2022.
    """
    check_enough(len(labels), num_clients, minimum, "lower partition.minimum")
    chance = np.random.Generator(np.random.PCG64(stream_seed(seed, "partition", 0)))
    shares = chance.dirichlet(np.full(num_clients, beta))
    cuts = np.rint(np.cumsum(shares)[:-1] * len(labels)).astype(np.int64)
    order = torch.randperm(len(labels), generator=generator(seed, "partition"))
    clients, moved = fill_up([*order.tensor_split(torch.from_numpy(cuts))], minimum)
    return in_order(clients, moved=moved)
