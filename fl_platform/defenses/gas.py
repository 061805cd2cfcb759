"""GAS: scores of rows from a rule on random groups of coordinates; mean of the best n - f."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import largest_f, rule
from fl_platform.defenses.bulyan import bulyan
from fl_platform.defenses.krum import multi_krum
from fl_platform.defenses.median import median
from fl_platform.defenses.rfa import rfa
from fl_platform.defenses.trimmed_mean import trimmed_mean

Base = Literal["bulyan", "multi_krum", "median", "trimmed_mean", "rfa"]
BASES: dict[str, Callable[..., Aggregate]] = {
    "bulyan": bulyan,
    "multi_krum": multi_krum,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "rfa": rfa,
}


@rule(
    label="GAS",
    tolerates=lambda n: (n - 1) // 2,
    shardable="splits all coordinates at random",
)
class Gas:
    r"""Gradient splitting: the mean of the n - f rows nearest to a rule's results per group.

    .. math:: s_i = \sum_{q=1}^{p} \|g_i^{(q)} - A(g_1^{(q)}, \ldots, g_n^{(q)})\|, \quad
        \hat g = \operatorname{mean} \text{ of the } n - f \text{ rows of least } s_i

    Args:
        seed: of the stream that shuffles the coordinates, anew each round.
        groups: p, lowered to d; 1000 in the authors' sample configuration.
        base: A, with its defaults. The limit of f is that of A. The authors' code has
            ``bulyan`` with the fault described there.

    Guarantees, in the paper, convergence where A is robust, with an error that heterogeneity
    raises less than for A alone; we know of no kappa. Cost: the matrix is copied once, and A runs
    on p groups.

    References:
        Liu, Chen, Lyu, Wu, Wu, Chen, Byzantine-Robust Learning on Heterogeneous Data via
        Gradient Splitting, ICML 2023, Algorithm 1.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        groups: Annotated[int, AtLeast(1)] = 1000,
        base: Base = "bulyan",
    ) -> None:
        if groups < 1 or base not in BASES:
            known = ", ".join(BASES)
            raise ValueError(
                f"Expected groups >= 1 and base as {known}, got {groups} and {base!r}."
            )
        self.seed, self.groups, self.base = seed, groups, base
        self.largest_f = partial(largest_f, BASES[base])
        self.calls = 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        """The mean of the n - f rows of least score, ties to the first."""
        n, d = len(updates), updates.dimension
        stream = generator(self.seed, "gas", self.calls)
        self.calls += 1
        shuffled = torch.randperm(d, generator=stream).to(updates.device)
        matrix, rule = updates.matrix, BASES[self.base]
        scores = torch.zeros(n, dtype=torch.float64, device=updates.device)
        for index in shuffled.chunk(min(self.groups, d)):
            group = Updates(matrix[:, index])
            answer = rule(group, num_byzantine).vector
            scores += group.squared_distances_to(answer).sqrt()
        weights = torch.zeros_like(scores)
        kept = n - num_byzantine
        weights[scores.argsort(stable=True)[:kept]] = 1 / kept
        return Aggregate(updates.combine(weights), weights)

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next shuffle."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls."""
        self.calls = int(state["calls"])


gas = Gas
