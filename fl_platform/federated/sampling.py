"""The participants of a round, as a pure function of (seed, round)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from fl_platform.core.rng import generator

Sampling = Literal["random", "fixed_share"]


@dataclass(frozen=True)
class Cohort:
    """The clients of one round, in ascending order of their ids.

    Attributes:
        honest: ids of the honest participants.
        byzantine: ids of the Byzantine participants, f_t of them.
    """

    honest: tuple[int, ...]
    byzantine: tuple[int, ...]


def byzantine_clients(
    num_clients: int, share: float | int, seed: int, draw: int = 0
) -> tuple[int, ...]:
    """The ids of the Byzantine clients, drawn from their own stream.

    Args:
        num_clients: n.
        share: a fraction of n, of which ceil(fraction × n) are drawn, or their number.
        seed: the run's seed.
        draw: how often they have been drawn before, under a schedule whose identities switch.
    """
    # 0.3 * 10 is 3.0000000000000004 in floating point: round before ceil.
    whole = isinstance(share, int)
    count = share if whole else math.ceil(round(share * num_clients, 9))
    stream = generator(seed, "byzantine", draw) if draw else generator(seed, "byzantine")
    order = torch.randperm(num_clients, generator=stream)
    return tuple(sorted(order[:count].tolist()))


def sample_cohort(
    round_index: int,
    num_clients: int,
    byzantine: tuple[int, ...],
    sampled: int | None,
    sampling: Sampling,
    seed: int,
) -> Cohort:
    """Draw the participants of a round.

    Args:
        round_index: t, from 0.
        num_clients: n, the population.
        byzantine: ids of the Byzantine clients in the population.
        sampled: participants per round; ``None`` for all.
        sampling: ``"random"`` draws from the population, so that f_t is random;
            ``"fixed_share"`` draws exactly round(|byzantine| / n × sampled) Byzantine clients.
        seed: the run's seed.
    """
    members = set(byzantine)
    honest = [client for client in range(num_clients) if client not in members]
    if sampled is None or sampled == num_clients:
        return Cohort(tuple(honest), tuple(byzantine))
    stream = generator(seed, "participants", round_index)
    if sampling == "random":
        drawn = sorted(torch.randperm(num_clients, generator=stream)[:sampled].tolist())
        return Cohort(
            tuple(client for client in drawn if client not in members),
            tuple(client for client in drawn if client in members),
        )
    count = round(len(byzantine) / num_clients * sampled)
    picks = torch.randperm(len(byzantine), generator=stream)[:count].tolist()
    others = torch.randperm(len(honest), generator=stream)[: sampled - count].tolist()
    return Cohort(
        tuple(sorted(honest[i] for i in others)),
        tuple(sorted(byzantine[i] for i in picks)),
    )
