"""From what a task says of its partition to the images of every client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.data.dataset import DataError, Dataset
from fl_platform.data.partitions.base import Partition
from fl_platform.data.partitions.dirichlet import dirichlet
from fl_platform.data.partitions.iid import iid
from fl_platform.data.partitions.writer import by_writer

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
    """The partition that a task names, of the training images of ``dataset``.

    Args:
        dataset: after `hold_out`, if anything is held out.
        how: "iid", "dirichlet" or "writer", or a function of labels, clients and seed.
        num_clients: n; ``None`` means the number of writers, and needs "writer".
        seed: of the data.
        beta: for "dirichlet".
        minimum: for "dirichlet".

    Raises:
        DataError: there are too few images, or "writer" is asked of data without writers.
        ValueError: the arguments do not go together.
    """
    if how == "writer":
        return _by_writer(dataset, num_clients)
    if num_clients is None:
        raise ValueError(f"Expected a number in task.clients for task.partition={how}, got null.")
    if how == "iid":
        return iid(dataset.train_labels, num_clients, seed)
    if not isinstance(how, str):
        return how(dataset.train_labels, num_clients, seed)
    if how != "dirichlet" or beta is None or minimum is None:
        raise ValueError(
            "Expected task.partition to be iid, writer, or dirichlet with beta and minimum,"
            f" got {how} with beta={beta} and minimum={minimum}."
        )
    return dirichlet(dataset.train_labels, num_clients, seed, beta=beta, minimum=minimum)


def deal(
    split: Callable[[int], Partition],
    num_clients: int,
    byzantine: Sequence[int],
    data: ByzantineData,
    labels: Tensor,
    seed: int,
) -> Partition:
    """The images of all clients where Byzantine ones may be left out of the partition.

    Args:
        split: the partition of the images over a number of clients.
        num_clients: n.
        byzantine: ids of the Byzantine clients.
        data: "share": the partition is over all clients; "iid": over the honest ones, and each
            Byzantine client has an equal share of the shuffled images besides, as if there were
            honest clients alone; "none": over the honest ones, and Byzantine clients have nothing.
        labels: ``(N,)`` int64.
        seed: of the data; the Byzantine shares come from its stream "partition/byzantine".
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
            f"Expected data with writers for task.partition=writer, got {dataset.name},"
            " which has none; use iid or dirichlet."
        )
    partition = by_writer(dataset.writers)
    if num_clients not in (None, len(partition)):
        raise ValueError(
            f"Expected task.clients=null for task.partition=writer ({len(partition)} writers),"
            f" got {num_clients}."
        )
    return partition
