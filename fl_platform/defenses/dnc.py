"""Divide and Conquer: drop the outliers along the main direction of variance."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.deferred import on_device, sent
from fl_platform.core.geometry import leading
from fl_platform.core.rule import rule


@rule(
    label="DnC",
    tolerates=lambda n: (n - 1) // 2,
    kappa=lambda n, f, **parameters: math.inf,
    shardable="samples coordinates out of all",
)
class DnC:
    r"""The mean of the rows least removed by a spectral test on sampled coordinates.

    Each iteration draws b coordinates, centres the rows there, and removes the ceil(c f) rows
    with the largest squared projection on the top right singular vector:

    .. math:: s_i = \langle \tilde g_i - \bar g, v_1 \rangle^2

    The paper averages the rows that no iteration removed. Several iterations may remove every row;
    here the rows *removed least often* are averaged, which is the same set whenever the paper's
    is not empty.

    Args:
        seed: of the stream that draws coordinates.
        iterations: 1 in the STRIKE authors' code, 5 in fedlib and FLPoison.
        coordinates: b; 1000 in the STRIKE authors' code, 10000 in fedlib and FL-Byz-Lib. At least
            d means all of them, unless drawn with replacement.
        filter: c; each iteration removes ceil(c f) rows, at most n - 1.
        replacement: ``true``: draw coordinates with replacement, as in the STRIKE authors' code.

    Guarantees: no finite kappa. Of many identical honest rows exactly ceil(c f) are still removed,
    and coordinates that are not sampled have no influence on the removal.

    References:
        Shejwalkar and Houmansadr, Manipulating the Byzantine, NDSS 2021.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import dnc
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> dnc(seed=0)(updates, 1).weights
        tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.0000], dtype=torch.float64)
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        iterations: Annotated[int, AtLeast(1)] = 1,
        coordinates: Annotated[int, AtLeast(1)] = 10_000,
        filter: Annotated[float, AtLeast(0)] = 1.0,
        replacement: bool = False,
    ) -> None:
        if iterations < 1 or coordinates < 1 or not filter >= 0:
            raise ValueError(
                "Expected iterations >= 1, coordinates >= 1 and filter >= 0,"
                f" got {iterations}, {coordinates} and {filter}."
            )
        self.seed, self.iterations, self.coordinates = seed, iterations, coordinates
        self.filter, self.replacement = filter, replacement
        self.calls = 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        """The mean of the rows that were removed least often."""
        n, d = len(updates), updates.dimension
        remove = min(math.ceil(self.filter * num_byzantine), n - 1)
        removals = torch.zeros(n, dtype=torch.int64, device=updates.device)
        stream = generator(self.seed, "dnc", self.calls)
        for _ in range(self.iterations):
            if self.replacement:
                index = torch.randint(d, (self.coordinates,), generator=stream)
            else:
                index = draw_distinct(d, self.coordinates, stream)
            scores = outlier_scores(updates, index)
            removed = scores.argsort(stable=True)[n - remove :]
            removals += torch.zeros_like(removals).scatter_(0, removed, 1)
        self.calls += 1
        chosen = removals == removals.min()
        weights = chosen.double() / chosen.sum()
        return Aggregate(updates.combine(weights), weights)

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next draw."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls."""
        self.calls = int(state["calls"])


def outlier_scores(updates: Updates, index: Tensor) -> Tensor:
    """``(n,)`` squared projections on the top singular vector of the centred columns ``index``."""
    if len(index) == updates.dimension == len(index.unique()):
        inner = updates.gram()
    else:
        sampled = columns_at(updates, index).double()
        # Any common point; the median is near the rows. By sorting, which has a deterministic
        # algorithm on a GPU; the index of a median has none.
        sampled = sampled - sampled.sort(0).values[(len(sampled) - 1) // 2]
        inner = sampled @ sampled.T
    inner = inner - inner.mean(0) - inner.mean(1, keepdim=True) + inner.mean()
    # Projections of the rows on the top right singular vector are sqrt(lambda) u, from n x n.
    value, vector, _ = leading(inner)
    return value * vector.square()


def columns_at(updates: Updates, index: Tensor) -> Tensor:
    """``(n, b)`` columns; of mixed rows, which are not stored, all are computed once, in chunks."""
    index = sent(index, updates.device)
    if on_device(index):
        return updates.gathered(index)
    rows = updates.rows()
    if rows is not None:
        return torch.stack([row[index] for row in rows])
    index = index.sort().values
    parts = []
    for part, chunk in updates.columns():
        here = index[(index >= part.start) & (index < part.stop)]
        parts.append(chunk[:, here - part.start])
    return torch.cat(parts, 1)


def draw_distinct(d: int, count: int, stream: torch.Generator) -> Tensor:
    """``count`` different numbers below d, each set equally likely; all of them if count >= d."""
    if count >= d:
        return torch.arange(d)
    if 2 * count >= d:
        return torch.randperm(d, generator=stream)[:count]
    # The first distinct values of a sequence of draws; cheaper than permuting millions.
    draws: list[int] = []
    while len(distinct := list(dict.fromkeys(draws))) < count:
        draws += torch.randint(d, (2 * count,), generator=stream).tolist()
    return torch.tensor(distinct[:count])


dnc = DnC
