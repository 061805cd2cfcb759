"""Mixings, the pre-aggregation before a rule: matrices that make the rows more alike."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.deferred import sent
from fl_platform.core.rule import rule


@rule(label="NNM", tolerates=lambda n: (n - 1) // 2, shardable=True)
def nnm(updates: Updates, num_byzantine: int, *, include_self: bool = True) -> Tensor:
    r"""Nearest-neighbour mixing: each row becomes the mean of its n - f nearest rows.

    .. math:: y_i = \frac{1}{n - f} \sum_{j \in N_i} g_j

    Args:
        updates: n rows of dimension d.
        num_byzantine: f < n / 2; ties go to the first rows.
        include_self: ``true``: a row is one of its own neighbours (the paper, ByzFL, ByzPy);
            ``false`` (the STRIKE authors' code): every honest row then averages at least one
            Byzantine row, so no rule after it has a finite kappa. With f = 0, where their code
            stops with an error, the n - 1 others are averaged.

    Returns:
        ``(n, n)`` float64, rows sum to 1.

    Guarantees for ``true``, before a rule with kappa_F: kappa = 2 (kappa_F + 1) 4f / (n - f), so
    8f / (n - f) (kappa_F + 1).

    References:
        Allouah et al., Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity,
        AISTATS 2023.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import nnm
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> nnm(updates, 1)[0].tolist()  # a row of 4 neighbours
        [0.25, 0.25, 0.25, 0.25, 0.0]
    """
    n = len(updates)
    # A row is the first of its own neighbours, or the last, even if another row equals it.
    own = -1.0 if include_self else torch.inf
    distances = updates.squared_distances().clone().fill_diagonal_(own)
    count = n - num_byzantine if include_self else max(min(n - num_byzantine, n - 1), 1)
    nearest = distances.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(distances).scatter_(1, nearest, 1 / count)


@rule(label="bucketing", tolerates=lambda n: n, shardable=True)
class Bucketing:
    r"""Rows shuffled, then averaged s at a time; the last bucket may be smaller.

    .. math:: y_b = \frac{1}{|B_b|} \sum_{i \in B_b} g_{\pi(i)}, \quad
        B_b = \{(b - 1) s + 1, \ldots, \min(b s, n)\}, \quad \pi \text{ a random permutation}

    Args:
        seed: of the stream that shuffles.
        s: rows per bucket; 2 in the paper's experiments, 1 only shuffles.
        f_after: number of Byzantine buckets among ceil(n / s) that the rule assumes. ``same`` is
            f: each Byzantine row can be in another bucket (the paper, epfml, ByzFL). ``ceil`` is
            ceil(f / s), the STRIKE authors' code: too few in almost every shuffle, so no rule
            after it has a finite kappa.

    References:
        Karimireddy, He, Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing,
        ICLR 2022.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.defenses import bucketing
        >>> updates = Updates(torch.tensor([[1.0, 0], [2, 1], [3, 1], [2, 2], [90, -90]]))
        >>> mixing = bucketing(seed=0, s=2)(updates, 1)
        >>> tuple(mixing.shape), mixing.sum(1).tolist()
        ((3, 5), [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        s: Annotated[int, AtLeast(1)] = 2,
        f_after: Literal["same", "ceil"] = "same",
    ) -> None:
        if s < 1 or f_after not in ("same", "ceil"):
            raise ValueError(f"Expected s >= 1 and f_after as same or ceil, got {s}, {f_after!r}.")
        self.seed, self.s, self.f_after = seed, s, f_after
        self.calls = 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Tensor:
        """``(ceil(n / s), n)`` float64, rows sum to 1."""
        order = torch.randperm(
            len(updates), generator=generator(self.seed, "bucketing", self.calls)
        )
        self.calls += 1
        return sent(buckets(order, self.s), updates.device)

    def num_byzantine_after(self, m: int, f: int) -> int:
        """Number of buckets of m rows that count as Byzantine."""
        return f if self.f_after == "same" else math.ceil(f / self.s)

    def rows_after(self, m: int) -> int:
        """Number of buckets of m rows."""
        return math.ceil(m / self.s)

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next shuffle."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls."""
        self.calls = int(state["calls"])


def buckets(order: Tensor, s: int) -> Tensor:
    """``(ceil(n / s), n)`` averages of s consecutive rows in ``order``."""
    runs = order.split(s)
    mixing = torch.zeros(len(runs), len(order), dtype=torch.float64)
    for bucket, rows in enumerate(runs):
        mixing[bucket, rows] = 1 / len(rows)
    return mixing


bucketing = Bucketing
