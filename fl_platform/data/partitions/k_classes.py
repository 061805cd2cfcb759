"""Partition with k classes per client."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.core.constraints import AtLeast
from fl_platform.core.rng import generator
from fl_platform.data.partitions.partition import Partition, check_enough, in_order


def k_classes(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    k: Annotated[int, AtLeast(1)] = 2,
    choice: Literal["cyclic", "first"] = "cyclic",
) -> Partition:
    """Partition with ``k`` classes per client; clients of a class have equal shares of it.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least 1.
        seed: Seed of the data; choice and orders come from its stream "partition".
        k: Classes per client, at most the number of classes.
        choice: "cyclic": client i has the classes i, i + 1, ..., i + k - 1 modulo their number.
            "first": class i modulo their number, and k - 1 others at random.

    Raises:
        ValueError: ``k`` exceeds the number of classes, or a class has no client.
        DataError: There are fewer images than clients, or a class has fewer images than clients.

    References:
        Q. Li et al., Federated Learning on Non-IID Data Silos, ICDE 2022 ("first").
    """
    check_enough(len(labels), num_clients)
    classes = labels.unique()
    count = len(classes)
    if k > count:
        raise ValueError(f"partition.k: expected at most {count}, the number of classes, got {k}.")
    chance = generator(seed, "partition")
    owners: list[list[int]] = [[] for _ in range(count)]
    for client in range(num_clients):
        chosen = [(client + step) % count for step in range(k)]
        if choice == "first":
            others = torch.randperm(count - 1, generator=chance)[: k - 1]
            chosen[1:] = ((client + 1 + others) % count).tolist()
        for place in chosen:
            owners[place].append(client)
    orphans = [int(classes[place]) for place, who in enumerate(owners) if not who]
    if orphans:
        raise ValueError(
            f"partition.k: expected a client for each of {count} classes, got none for class"
            f" {orphans[0]} with k={k} and {num_clients} clients; raise partition.k."
        )
    shares: list[list[Tensor]] = [[] for _ in range(num_clients)]
    for label, who in zip(classes, owners, strict=True):
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=chance)]
        for client, part in zip(who, members.tensor_split(len(who)), strict=True):
            shares[client].append(part)
    return in_order([torch.cat(parts) for parts in shares])
