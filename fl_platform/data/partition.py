"""Partitions: every training image belongs to exactly one client."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.rng import generator, stream_seed
from fl_platform.data.dataset import DataError, Dataset

MAX_REDRAWS = 100


@dataclass(frozen=True)
class Partition:
    """Training images of each client.

    Attributes:
        indices: One ascending ``(n_i,)`` int64 tensor per client; none is empty.
        redraws: Number of rejected draws, in which a client had too few images.
        moved: Number of images moved to clients below the minimum after the last draw.

    Raises:
        DataError: There is no client, or a client has no image.
    """

    indices: tuple[Tensor, ...]
    redraws: int = 0
    moved: int = 0

    def __post_init__(self) -> None:
        empty = [client for client, index in enumerate(self.indices) if len(index) == 0]
        if not self.indices or empty:
            got = f"none for client {empty[0]}" if empty else "no client"
            raise DataError(f"Expected at least one training image for each client, got {got}.")

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sizes and indices of all clients."""
        content = hashlib.sha256()
        for index in self.indices:
            content.update(len(index).to_bytes(8, "little"))
            content.update(index.numpy().astype("<i8").tobytes())
        return content.hexdigest()


def iid(labels: Tensor, num_clients: int, seed: int) -> Partition:
    """Partition into equal shares of the shuffled images (sizes differ by at most one).

    Args:
        labels: ``(N,)`` int64; only their number is used.
        num_clients: n, from 1 to N.
        seed: Seed of the run; the order is drawn from its stream "partition".

    Raises:
        DataError: There are fewer images than clients.
    """
    _check_enough(len(labels), num_clients, minimum=1)
    order = torch.randperm(len(labels), generator=generator(seed, "partition"))
    return Partition(tuple(part.sort().values for part in order.tensor_split(num_clients)))


def dirichlet(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    beta: Annotated[float, Above(0)] = 0.5,
    minimum: Annotated[int, AtLeast(1)] = 10,
) -> Partition:
    """Partition of each class in shares drawn from a Dirichlet distribution.

    .. math:: p_k \\sim \\mathrm{Dir}_n(\\beta), \\quad
        \\text{client } i \\text{ gets a share } p_{k,i} \\text{ of class } k

    Classes are drawn independently, so clients differ in size as well as in classes. A draw with a
    client below ``minimum`` is rejected, up to 100 times; after that, images move one by one from
    the largest client to clients below the minimum, and `Partition.moved` counts them. (The STRIKE
    authors' code redraws without limit and loses the images after the last rounded cut.)

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least 1.
        seed: Seed of the run; draw t comes from its stream ("partition", t).
        beta: Concentration, above 0. Small: few classes per client; large: close to IID.
        minimum: Smallest number of images per client, at least 1.

    Raises:
        DataError: There are fewer than ``num_clients * minimum`` images.
        ValueError: ``beta`` or ``minimum`` is outside its range.

    References:
        M. Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks,
        ICML 2019; T.-M. H. Hsu, H. Qi, M. Brown, Measuring the Effects of Non-Identical Data
        Distribution for Federated Visual Classification, 2019, https://arxiv.org/abs/1909.06335
    """
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"Expected beta to be a finite number > 0, got {beta}.")
    if minimum < 1:
        raise ValueError(
            f"Expected minimum >= 1, got {minimum}: a client without images cannot train."
        )
    _check_enough(len(labels), num_clients, minimum)
    classes = [torch.nonzero(labels == k).flatten() for k in labels.unique().tolist()]
    for redraws in range(MAX_REDRAWS + 1):
        cuts = _draw_cuts([len(members) for members in classes], num_clients, beta, seed, redraws)
        sizes = np.diff(cuts, axis=1).sum(0)  # (n,)
        if sizes.min() >= minimum:
            break
    chance = generator(seed, "partition/order", redraws)
    shares: list[list[Tensor]] = [[] for _ in range(num_clients)]
    for members, cut in zip(classes, cuts, strict=True):
        shuffled = members[torch.randperm(len(members), generator=chance)]
        for client, part in enumerate(shuffled.split(np.diff(cut).tolist())):
            shares[client].append(part)
    clients = [torch.cat(parts) for parts in shares]
    clients = [index[torch.randperm(len(index), generator=chance)] for index in clients]
    clients, moved = _fill_up(clients, minimum)
    return Partition(tuple(index.sort().values for index in clients), redraws, moved)


def by_writer(writers: Tensor) -> Partition:
    """Natural partition: one client per writer, in the order of the writers' numbers.

    Args:
        writers: ``(N,)`` int64, writer of each training image.
    """
    return Partition(
        tuple(torch.nonzero(writers == writer).flatten() for writer in writers.unique().tolist())
    )


def divide(
    dataset: Dataset,
    how: Literal["iid", "dirichlet", "writer"],
    num_clients: int | None,
    seed: int,
    *,
    beta: float | None = None,
    minimum: int | None = None,
) -> Partition:
    """Partition of the training images of ``dataset``, as configured by a task.

    Args:
        dataset: The data set, after `hold_out`.
        how: "iid", "dirichlet" or "writer".
        num_clients: n; ``None`` with "writer": the number of writers.
        seed: Seed of the run.
        beta: Concentration of "dirichlet".
        minimum: Smallest number of images per client of "dirichlet".

    Raises:
        DataError: There are too few images, or "writer" is set for data without writers.
        ValueError: The arguments are inconsistent.
    """
    if how == "writer":
        if dataset.writers is None:
            raise DataError(
                f"Expected data with writers for task.partition=writer, got {dataset.name}"
                " without writers; use iid or dirichlet."
            )
        partition = by_writer(dataset.writers)
        if num_clients not in (None, len(partition)):
            raise ValueError(
                f"Expected task.clients=null for task.partition=writer ({len(partition)} writers),"
                f" got {num_clients}."
            )
        return partition
    if num_clients is None:
        raise ValueError(f"Expected a number in task.clients for task.partition={how}, got null.")
    if how == "iid":
        return iid(dataset.train_labels, num_clients, seed)
    if how != "dirichlet" or beta is None or minimum is None:
        raise ValueError(
            "Expected task.partition to be iid, writer, or dirichlet with beta and minimum,"
            f" got {how} with beta={beta} and minimum={minimum}."
        )
    return dirichlet(dataset.train_labels, num_clients, seed, beta=beta, minimum=minimum)


def classes_per_client(partition: Partition, labels: Tensor, num_classes: int) -> Tensor:
    """``(n, num_classes)`` int64: number of images per client and class."""
    return torch.stack(
        [torch.bincount(labels[index], minlength=num_classes) for index in partition.indices]
    )


def _check_enough(size: int, num_clients: int, minimum: int) -> None:
    if num_clients < 1:
        raise ValueError(f"Expected at least 1 client, got {num_clients}.")
    if size < num_clients * minimum:
        raise DataError(
            f"Expected at least {num_clients * minimum} training images for {num_clients} clients"
            f" of {minimum} or more, got {size}; lower task.clients or task.minimum."
        )


def _draw_cuts(
    sizes: list[int], num_clients: int, beta: float, seed: int, attempt: int
) -> np.ndarray:
    """``(classes, n + 1)`` cuts of each class; the last cut is its size, so no image is lost."""
    # NumPy, since torch has no public Dirichlet with a generator. For small beta NumPy uses stick
    # breaking, where normalised gamma draws would all be zero.
    chance = np.random.Generator(np.random.PCG64(stream_seed(seed, "partition", attempt)))
    shares = chance.dirichlet(np.full(num_clients, beta), size=len(sizes))
    inner = np.cumsum(shares, axis=1)[:, :-1] * np.array(sizes)[:, None]
    cuts = np.zeros((len(sizes), num_clients + 1), dtype=np.int64)
    # Rounded, not truncated: otherwise the first and last client are rejected unequally often.
    cuts[:, 1:-1] = np.minimum(np.rint(inner).astype(np.int64), np.array(sizes)[:, None])
    cuts[:, -1] = sizes
    return cuts


def _fill_up(clients: list[Tensor], minimum: int) -> tuple[list[Tensor], int]:
    """Move images one by one from the largest client to clients below the minimum."""
    held = [index.tolist() for index in clients]
    moved = 0
    for poor in held:
        while len(poor) < minimum:
            poor.append(max(held, key=len).pop())
            moved += 1
    return [torch.tensor(index, dtype=torch.int64) for index in held], moved
