"""In which order a client reads its samples: the same whichever way it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.federation import Samples

Relabel = Callable[[Tensor], Tensor]


def stream(seed: int, round_index: int, client: int) -> torch.Generator:
    """Where a client's orders of one round are drawn from."""
    return generator(seed, "batches", round_index, client)


def batches(
    index: Tensor,
    settings: LocalTraining,
    stream: torch.Generator,
    merge_single: bool,
    device: torch.device,
) -> Iterator[Tensor]:
    """A client's shuffled batches over all its epochs.

    Args:
        index: ``(N_i,)`` the client's samples.
        settings: epochs and batch size.
        stream: where the order of each epoch is drawn from.
        merge_single: join a last batch of one sample to the one before, because batch
            normalisation has no variance to take over a single sample.
        device: where the batches go, an epoch at a time.
    """
    for _ in range(settings.epochs):
        order = index[torch.randperm(len(index), generator=stream)].to(device, non_blocking=True)
        parts = list(order.split(settings.batch))
        if merge_single and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        yield from parts


def num_steps(size: int, settings: LocalTraining) -> int:
    """Steps of a client with ``size`` samples over all its epochs."""
    return settings.epochs * -(-size // settings.batch)


@dataclass(frozen=True)
class Plan:
    """The batches of several clients side by side, every batch filled up to one size.

    A batch that is too short repeats its last sample with a share of zero, which adds exactly
    nothing to a gradient.

    Attributes:
        index: ``(C, S, B)`` samples.
        targets: ``(C, S, B)`` their labels, poisoned ones included.
        shares: ``(C, S, B)`` weight of each sample in its batch's mean; zero where filled up.
        active: ``(S,)`` how many clients take step s: always the first ones.
    """

    index: Tensor
    targets: Tensor
    shares: Tensor
    active: tuple[int, ...]


def side_by_side(
    clients: Sequence[Tensor],
    streams: Sequence[torch.Generator],
    settings: LocalTraining,
    samples: Samples,
    relabel: Relabel | None = None,
) -> Plan:
    """Plan the batches of clients that are trained together.

    Args:
        clients: ``(N_i,)`` samples of each, those with most steps first.
        streams: of each client.
        settings: epochs and batch size.
        samples: whose targets are read; the plan lies on their device.
        relabel: replaces the targets, label by label; called once, on the CPU.
    """
    size = min(settings.batch, max(len(own) for own in clients))
    index, counts, active = lay_out(clients, streams, settings, size)
    targets = samples.host_targets[index]
    if relabel is not None:
        targets = relabel(targets)
    shares = torch.where(counts > 0, counts.reciprocal(), 0.0)
    device = samples.targets.device
    index, targets, shares = (
        part.to(device, non_blocking=True) for part in (index, targets, shares)
    )
    return Plan(index, targets, shares, active)


def lay_out(
    clients: Sequence[Tensor],
    streams: Sequence[torch.Generator],
    settings: LocalTraining,
    size: int,
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """The batches of clients that are trained together, on the CPU.

    Args:
        clients: ``(N_i,)`` samples of each, those with most steps first.
        streams: of each client.
        settings: epochs and batch size.
        size: samples a step: ``settings.batch``, or less where no client has so many.

    Returns:
        ``(C, S, B)`` samples; ``(C, S, B)`` float32, how many samples share the batch of each,
        0 where it was filled up; ``(S,)`` how many clients take each step, always the first ones.
    """
    steps = [num_steps(len(own), settings) for own in clients]
    if steps != sorted(steps, reverse=True):
        raise ValueError(f"Expected clients in descending order of steps, got {steps}.")
    index = torch.zeros(len(clients), steps[0] * size, dtype=torch.long)
    counts = torch.zeros(len(clients), steps[0] * size)
    for own, draws, theirs, count in zip(clients, streams, index, counts, strict=True):
        whole = len(own) - len(own) % size
        span = -(-len(own) // size) * size
        for start in range(0, settings.epochs * span, span):
            torch.take(
                own, torch.randperm(len(own), generator=draws), out=theirs[start:][: len(own)]
            )
            count[start : start + whole] = size
            if whole < len(own):
                theirs[start + len(own) : start + span] = theirs[start + len(own) - 1]
                count[start + whole : start + len(own)] = len(own) - whole
    shape = (len(clients), steps[0], size)
    active = tuple(sum(count > s for count in steps) for s in range(steps[0]))
    return index.view(shape), counts.view(shape), active
