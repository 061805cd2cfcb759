"""Dirichlet partition: label skew and unequal sizes."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fl_platform.core.constraints import Above, AtLeast
from fl_platform.core.rng import generator, stream_seed
from fl_platform.data.partitions.partition import Partition, check_enough, fill_up, in_order

MAX_REDRAWS = 100


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
        seed: Seed of the data; draw t comes from its stream ("partition", t).
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
    check_enough(len(labels), num_clients, minimum, "lower task.minimum")
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
    clients, moved = fill_up(clients, minimum)
    return in_order(clients, redraws, moved)


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
