"""FoolsGold: clients whose past updates have similar directions get a lower weight."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, products
from fl_platform.core.rule import rule
from fl_platform.defenses.histories import Histories, numbered


@rule(
    label="FoolsGold",
    tolerates=lambda n: n,
    shardable="keeps the sum of each client's updates",
)
class Foolsgold:
    r"""Rows weighted by the dissimilarity of the client's summed updates from all others'.

    .. math:: c_{ij} = \cos(H_i, H_j), \; v_i = \max_{j \ne i} c_{ij}, \;
        c_{ij} \leftarrow c_{ij} v_i / v_j \text{ where } v_j > v_i, \;
        \alpha_i = 1 - \max_j c_{ij}, \\
        \alpha \leftarrow \alpha / \max \alpha, \quad
        \alpha_i \leftarrow \min(1, \max(0, \ln\frac{\alpha_i}{1 - \alpha_i} + \tfrac12)),
        \quad \hat g = \frac1n \sum_i \alpha_i g_i

    with H_i the sum of the updates that client i has sent. As in the authors' code a maximum is
    taken over 0 too, and a share of exactly 1 counts as 0.99 before the logarithm.

    Args:
        seed: not used; the rule draws nothing.
        average: ``clients`` divides by n: weights of 1 give the mean; ``sum`` does not
            divide (Algorithm 1); ``weights`` divides by the sum of alpha.
        memory: ``true``: H sums all rounds (the paper); ``false``: H is this round's update.

    A call receives ``clients``, the number of the client of each row; without it row i is client
    i. A real server must identify clients, and stores n d numbers. The paper's weighting of
    features by the output layer's weights is left out. Where all clients have the same direction
    the weights are 0 and the aggregate is zero, which keeps the model.

    Guarantees: none in the sense of Definition 1. The rule is designed against sybils with a common
    goal; a single attacker keeps its weight, and honest clients with equal data lose theirs.

    References:
        Fung, Yoon, Beschastnikh, The Limitations of Federated Learning in Sybil Settings,
        RAID 2020, Algorithm 1.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        average: Literal["clients", "sum", "weights"] = "clients",
        memory: bool = True,
    ) -> None:
        if average not in ("clients", "sum", "weights"):
            raise ValueError(f"Expected average as clients, sum or weights, got {average!r}.")
        self.average, self.memory = average, memory
        self.histories = Histories()

    def __call__(
        self, updates: Updates, num_byzantine: int, clients: Tensor | None = None
    ) -> Aggregate:
        """The weighted rows; f, from 0 to n, is not used."""
        if not self.memory:
            self.histories = Histories()
        places = self.histories.places(updates, numbered(updates, clients))
        assert self.histories.rows is not None
        for part, chunk in updates.columns():
            self.histories.rows[places, part] += chunk
        weights = trust(cosines(self.histories.rows[places]))
        divisor = {"clients": len(updates), "sum": 1, "weights": float(weights.sum()) or 1.0}
        weights = weights / divisor[self.average]
        return Aggregate(updates.combine(weights), weights, float(1 - weights.sum()))

    def state_dict(self) -> dict[str, Any]:
        """The known clients and the sums of their updates."""
        return self.histories.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the clients and their sums."""
        self.histories.load_state_dict(state)


def cosines(rows: Tensor) -> Tensor:
    """``(m, m)`` float64 cosines between rows, 0 with a row of length zero."""
    origin = torch.zeros(rows.shape[1], dtype=rows.dtype, device=rows.device)
    inner = products.centred_products(Updates(rows), origin)
    lengths = inner.diagonal().sqrt()
    both = lengths[:, None] * lengths
    return torch.where(both > 0, inner / both, 0.0)


def trust(similar: Tensor) -> Tensor:
    """``(m,)`` the alpha of :class:`Foolsgold` from cosines between the clients' histories."""
    others = similar.clone().fill_diagonal_(0)
    most = others.max(1).values
    pardon = torch.where(most[None, :] > most[:, None], most[:, None] / most[None, :], 1.0)
    alpha = (1 - (others * pardon).max(1).values).clamp(0, 1)
    if not alpha.max() > 0:
        return torch.zeros_like(alpha)
    alpha = alpha / alpha.max()
    alpha = torch.where(alpha == 1, 0.99, alpha)
    return ((alpha / (1 - alpha)).log() + 0.5).clamp(0, 1)


foolsgold = Foolsgold
