"""Partition: the training images of each client."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fl_platform.data.dataset import DataError


@dataclass(frozen=True)
class Partition:
    """Training images of each client.

    Attributes:
        indices: One ascending ``(n_i,)`` int64 tensor per client; empty only for clients in
            ``idle``.
        redraws: Number of rejected draws, in which a client had too few images.
        moved: Number of images moved to clients below the minimum after the last draw.
        idle: Clients that may have no image.

    Raises:
        DataError: There is no client, or a client outside ``idle`` has no image.
    """

    indices: tuple[Tensor, ...]
    redraws: int = 0
    moved: int = 0
    idle: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        empty = [client for client, index in enumerate(self.indices) if len(index) == 0]
        empty = [client for client in empty if client not in self.idle]
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


def classes_per_client(partition: Partition, labels: Tensor, num_classes: int) -> Tensor:
    """``(n, num_classes)`` int64: number of images per client and class."""
    return torch.stack(
        [torch.bincount(labels[index], minlength=num_classes) for index in partition.indices]
    )


def check_enough(size: int, num_clients: int, minimum: int = 1, remedy: str = "") -> None:
    """Raise if ``size`` images are fewer than ``minimum`` per client.

    Args:
        size: Images to be shared.
        num_clients: n.
        minimum: Images per client.
        remedy: A remedy beside fewer clients, such as "lower task.minimum".

    Raises:
        ValueError: There is no client.
        DataError: There are too few images.
    """
    if num_clients < 1:
        raise ValueError(f"Expected at least 1 client, got {num_clients}.")
    if size < num_clients * minimum:
        raise DataError(
            f"task.clients: expected at most {size // minimum} for {size} training images,"
            f" {minimum} per client, got {num_clients}; lower it{remedy and f' or {remedy}'}."
        )


def fill_up(clients: list[Tensor], minimum: int) -> tuple[list[Tensor], int]:
    """Move images one by one from the largest client to clients below the minimum."""
    held = [index.tolist() for index in clients]
    moved = 0
    for poor in held:
        while len(poor) < minimum:
            poor.append(max(held, key=len).pop())
            moved += 1
    return [torch.tensor(index, dtype=torch.int64) for index in held], moved


def in_order(clients: list[Tensor], redraws: int = 0, moved: int = 0) -> Partition:
    """Partition of clients whose indices have any order."""
    return Partition(tuple(index.sort().values for index in clients), redraws, moved)
