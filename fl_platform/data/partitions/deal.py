"""Partition of a task, with or without data of Byzantine clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.data import partitions
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.partitions.partition import Partition

Rule = Callable[[Tensor, int, int], Partition]
ByzantineData = Literal["share", "iid", "none"]


def divide(
    dataset: Dataset,
    how: str | Rule,
    num_clients: int | None,
    seed: int,
    *,
    beta: float | None = None,
    minimum: int | None = None,
) -> Partition:
    """Partition of the training images of ``dataset``, as configured by a task.

    Args:
        dataset: The data set, after `hold_out`.
        how: "iid", "dirichlet" or "writer", or a function of labels, clients and seed.
        num_clients: n; ``None`` with "writer": the number of writers.
        seed: Seed of the data.
        beta: Concentration of "dirichlet".
        minimum: Smallest number of images per client of "dirichlet".

    Raises:
        DataError: There are too few images, or "writer" is set for data without writers.
        ValueError: The arguments are inconsistent.
    """
    if how == "writer":
        return _by_writer(dataset, num_clients)
    if num_clients is None:
        raise ValueError(f"Expected a number in task.clients for task.partition={how}, got null.")
    if how == "iid":
        return partitions.iid(dataset.train_labels, num_clients, seed)
    if not isinstance(how, str):
        return how(dataset.train_labels, num_clients, seed)
    if how != "dirichlet" or beta is None or minimum is None:
        raise ValueError(
            "Expected task.partition to be iid, writer, or dirichlet with beta and minimum,"
            f" got {how} with beta={beta} and minimum={minimum}."
        )
    return partitions.dirichlet(dataset.train_labels, num_clients, seed, beta=beta, minimum=minimum)


def deal(
    split: Callable[[int], Partition],
    num_clients: int,
    byzantine: Sequence[int],
    data: ByzantineData,
    labels: Tensor,
    seed: int,
) -> Partition:
    """Partition in which Byzantine clients have a share, IID data or no data.

    Args:
        split: Partition of the images over a number of clients.
        num_clients: n.
        byzantine: Indices of the Byzantine clients.
        data: "share": the partition is over all clients. "iid": it is over the honest clients,
            and each Byzantine client has in addition an equal share of the shuffled images, of
            the size of an honest client's. "none": it is over the honest clients, and Byzantine
            clients have no data.
        labels: ``(N,)`` int64.
        seed: Seed of the data; Byzantine shares come from its stream "partition/byzantine".
    """
    if data == "share" or not byzantine:
        return split(num_clients)
    honest = [client for client in range(num_clients) if client not in set(byzantine)]
    own = split(len(honest))
    indices: list[Tensor] = [torch.empty(0, dtype=torch.int64)] * num_clients
    for client, index in zip(honest, own.indices, strict=True):
        indices[client] = index
    if data == "none":
        return Partition(tuple(indices), own.redraws, own.moved, tuple(byzantine))
    order = torch.randperm(len(labels), generator=generator(seed, "partition/byzantine"))
    shares = order.tensor_split(len(honest))
    for place, client in enumerate(byzantine):
        indices[client] = shares[place % len(honest)].sort().values
    return Partition(tuple(indices), own.redraws, own.moved)


def _by_writer(dataset: Dataset, num_clients: int | None) -> Partition:
    if dataset.writers is None:
        raise DataError(
            f"Expected data with writers for task.partition=writer, got {dataset.name}"
            " without writers; use iid or dirichlet."
        )
    partition = partitions.by_writer(dataset.writers)
    if num_clients not in (None, len(partition)):
        raise ValueError(
            f"Expected task.clients=null for task.partition=writer ({len(partition)} writers),"
            f" got {num_clients}."
        )
    return partition
