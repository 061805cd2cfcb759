"""Partition by groups of clients, one preferred class per group."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from fl_platform.core.constraints import Between
from fl_platform.core.rng import generator
from fl_platform.data.partitions.partition import Partition, check_enough, fill_up, in_order


def fang_q(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    q: Annotated[float, Between(0, 1)] = 0.5,
) -> Partition:
    """Partition that assigns an image of class k to group k with probability ``q``.

    There are as many groups as classes C; client i is in group i modulo C. An image goes to each of
    the other groups with probability (1 - q) / (C - 1), and to a uniformly drawn client of its
    group. ``q = 1 / C`` gives no skew; 0.5 is common. A client without images receives one from the
    largest client (`Partition.moved`).

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least the number of classes.
        seed: Seed of the data; the draws come from its stream "partition".
        q: Probability of the own group, from 1 / C to 1.

    Raises:
        ValueError: There are fewer clients than classes, or ``q`` is below 1 / C.
        DataError: There are fewer images than clients.

    References:
        M. Fang et al., Local Model Poisoning Attacks to Byzantine-Robust Federated Learning, USENIX
        Security 2020.
    """
    check_enough(len(labels), num_clients)
    own = labels.unique(return_inverse=True)[1]
    count = int(own.max()) + 1
    if num_clients < count:
        raise ValueError(
            f"task.clients: expected at least {count} for partition=fang_q, one group per"
            f" class, got {num_clients}."
        )
    if q * count < 1:
        raise ValueError(
            f"partition.q: expected at least {1 / count:.3g}, one of {count} classes (no skew), got"
            f" {q:g}."
        )
    chance = generator(seed, "partition")
    stays = torch.rand(len(labels), generator=chance, dtype=torch.float64) < q
    step = torch.randint(1, max(count, 2), (len(labels),), generator=chance)
    group = torch.where(stays, own, (own + step) % count)
    sizes = torch.tensor([len(range(g, num_clients, count)) for g in range(count)])
    spread = torch.rand(len(labels), generator=chance, dtype=torch.float64)
    client = group + count * (spread * sizes[group]).long()
    clients = [torch.nonzero(client == i).flatten() for i in range(num_clients)]
    clients, moved = fill_up(clients, 1)
    return in_order(clients, moved=moved)
