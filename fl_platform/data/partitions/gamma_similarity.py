"""Partition of given similarity: one share IID, the rest sorted by class."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core.constraints import Between
from fl_platform.core.rng import generator
from fl_platform.data.partitions.partition import Partition, check_enough, in_order


def gamma_similarity(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    gamma: Annotated[float, Between(0, 1)] = 0.5,
) -> Partition:
    """Partition of a share ``gamma`` of the images at random and of the others by class.

    Both parts have equal shares (sizes differ by at most two): ``gamma=1`` is `iid`, ``gamma=0`` is
    `sorted_labels`.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, from 1 to N.
        seed: Seed of the data; the order comes from its stream "partition".
        gamma: Similarity, from 0 to 1.

    Raises:
        DataError: There are fewer images than clients.

    References:
        T.-M. H. Hsu, H. Qi, M. Brown, 2019, https://arxiv.org/abs/1909.06335; S. P. Karimireddy et
        al., SCAFFOLD, ICML 2020 ("s% similarity"); Y. Allouah et al., Fixing by Mixing, AISTATS
        2023.
    """
    check_enough(len(labels), num_clients)
    order = torch.randperm(len(labels), generator=generator(seed, "partition"))
    alike, rest = order.tensor_split([round(gamma * len(labels))])
    rest = rest.sort().values
    rest = rest[labels[rest].argsort(stable=True)]
    pairs = zip(alike.tensor_split(num_clients), rest.tensor_split(num_clients), strict=True)
    return in_order([torch.cat(pair) for pair in pairs])
