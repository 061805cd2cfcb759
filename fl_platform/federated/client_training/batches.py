"""The order in which a client reads its samples, equal for every client trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_platform.core.rng import generator
from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.federation import Samples

Relabel = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stream:
    """The order of a client's samples in one round: a pure function of these numbers.

    Attributes:
        seed: the run's seed.
        round_index: t.
        client: its id.
    """

    seed: int
    round_index: int
    client: int

    def passes(
        self, size: int, settings: LocalTraining, per_pass: int
    ) -> Iterator[tuple[Tensor, range]]:
        """The passes over ``size`` samples, and the used batches of ``per_pass`` in each.

        ``fresh`` draws the orders of a round one after the other from the stream ("batches",
        round, client). ``cycling`` draws the order of pass p from ("walk", client, p), and round t
        takes the batches numbered from t * steps on: a client that was not sampled skips its own.

        Yields:
            ``(size,)`` a permutation, and a range of batches of it.
        """
        left = settings.epochs * per_pass if settings.steps is None else settings.steps
        if settings.walk == "fresh":
            draws = generator(self.seed, "batches", self.round_index, self.client)
            while left > 0:
                yield torch.randperm(size, generator=draws), range(min(left, per_pass))
                left -= per_pass
            return
        number, place = divmod(self.round_index * left, per_pass)
        while left > 0:
            draws = generator(self.seed, "walk", self.client, number)
            taken = range(place, min(per_pass, place + left))
            yield torch.randperm(size, generator=draws), taken
            number, place, left = number + 1, 0, left - len(taken)


def stream(seed: int, round_index: int, client: int) -> Stream:
    """The stream of a client's orders in one round."""
    return Stream(seed, round_index, client)


def batches(
    index: Tensor,
    settings: LocalTraining,
    stream: Stream,
    merge_single: bool,
    device: torch.device,
) -> Iterator[Tensor]:
    """A client's batches of one round.

    Args:
        index: ``(N_i,)`` the client's samples.
        settings: epochs or steps, batch size, walk.
        stream: the stream of the orders.
        merge_single: join a last batch of one sample to the one before, because batch
            normalisation has no variance to take over a single sample.
        device: device of the batches, moved pass by pass.
    """
    size = len(index)
    short = size % settings.batch
    merge = merge_single and short == 1 and size > settings.batch and not settings.drop_last
    per_pass = batches_per_pass(size, settings) - merge
    for order, taken in stream.passes(size, settings, per_pass):
        parts = list(index[order].to(device, non_blocking=True).split(settings.batch))
        if merge:
            parts[-2:] = [torch.cat(parts[-2:])]
        yield from parts[taken.start : taken.stop]


def batches_per_pass(size: int, settings: LocalTraining) -> int:
    """Batches in one pass over ``size`` samples; with ``drop_last`` the full ones, at least one."""
    if settings.drop_last:
        return max(1, size // settings.batch)
    return -(-size // settings.batch)


def num_steps(size: int, settings: LocalTraining) -> int:
    """Number of steps of a client with ``size`` samples in a round."""
    if settings.steps is not None:
        return settings.steps
    return settings.epochs * batches_per_pass(size, settings)


def samples_read(size: int, settings: LocalTraining) -> int:
    """Samples that a client with ``size`` of them reads in a round; a short batch of a walk of
    steps counts as a full one."""
    if settings.steps is not None:
        return settings.steps * min(settings.batch, size)
    if settings.drop_last and size > settings.batch:
        return settings.epochs * (size - size % settings.batch)
    return settings.epochs * size


@dataclass(frozen=True)
class Plan:
    """The batches of several clients in parallel, every batch padded to one size.

    A short batch repeats its last sample with a share of zero, which adds exactly zero to a
    gradient.

    Attributes:
        index: ``(C, S, B)`` samples.
        targets: ``(C, S, B)`` their labels, poisoned ones included.
        shares: ``(C, S, B)`` weight of each sample in its batch's mean; zero where filled up.
        active: ``(S,)`` number of clients in step s: always the first ones.
    """

    index: Tensor
    targets: Tensor
    shares: Tensor
    active: tuple[int, ...]


def side_by_side(
    clients: Sequence[Tensor],
    streams: Sequence[Stream],
    settings: LocalTraining,
    samples: Samples,
    relabel: Relabel | None = None,
) -> Plan:
    """Plan of the batches of clients that are trained together.

    Args:
        clients: ``(N_i,)`` samples of each, those with most steps first.
        streams: of each client.
        settings: epochs or steps, batch size, walk.
        samples: samples with the targets; the plan is on their device.
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
    streams: Sequence[Stream],
    settings: LocalTraining,
    size: int,
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """The batches of clients that are trained together, on the CPU.

    Args:
        clients: ``(N_i,)`` samples of each, those with most steps first.
        streams: of each client.
        settings: epochs and batch size.
        size: samples per step: ``settings.batch``, or less where no client has so many.

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
        begin = 0
        for order, taken in draws.passes(len(own), settings, batches_per_pass(len(own), settings)):
            chosen = order[taken.start * size : taken.stop * size]
            stop, end = begin + len(chosen), begin + len(taken) * size
            whole = stop - len(chosen) % size
            torch.take(own, chosen, out=theirs[begin:stop])
            count[begin:whole] = size
            if whole < stop:
                theirs[stop:end] = theirs[stop - 1]
                count[whole:stop] = stop - whole
            begin = end
    shape = (len(clients), steps[0], size)
    active = tuple(sum(count > s for count in steps) for s in range(steps[0]))
    return index.view(shape), counts.view(shape), active
