"""Momentum that each client keeps from round to round."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class WorkerMomentum:
    """One row of momentum per client, applied to its update.

    .. math:: m_i \\leftarrow \\beta m_i + (1 - \\delta) g_i, \\quad m_i = 0 \\text{ at first}

    and client i sends :math:`m_i`. Karimireddy et al. have :math:`\\delta = 0`; Farhadkhani et al.
    and ByzFL have :math:`\\delta = \\beta`, an exponential mean. A client that does not take part
    in a round keeps its row.

    Args:
        clients: ids of all clients that may train, in the order of a round with all of them.
        like: ``(*, d)`` tensor with the dtype and device of the rows.
        momentum: beta, from 0 below 1.
        dampening: delta, from 0 below 1.

    Raises:
        ValueError: beta or delta out of range.

    References:
        S. P. Karimireddy, L. He, M. Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via
        Bucketing, ICLR 2022; S. Farhadkhani et al., Byzantine Machine Learning Made Easy by
        Resilient Averaging of Momentums, ICML 2022.
    """

    def __init__(
        self, clients: Sequence[int], like: Tensor, momentum: float, dampening: float = 0.0
    ) -> None:
        if not (0 <= momentum < 1 and 0 <= dampening < 1):
            raise ValueError(
                "Expected momentum and dampening from 0 to below 1, got"
                f" momentum={momentum}, dampening={dampening}."
            )
        self.momentum, self.dampening = momentum, dampening
        self.rows = like.new_zeros(len(clients), like.shape[-1])
        self._places = {client: place for place, client in enumerate(clients)}

    def apply(self, clients: Sequence[int], updates: Tensor) -> None:
        """Replace the clients' updates ``(len(clients), d)`` by their momentum, in place."""
        places = [self._places[client] for client in clients]
        if places == list(range(len(self.rows))):  # a round of all clients: one pass over both
            self._move(self.rows, updates)
            return
        for place, update in zip(places, updates, strict=True):
            self._move(self.rows[place], update)

    def _move(self, rows: Tensor, updates: Tensor) -> None:
        rows.mul_(self.momentum).add_(updates, alpha=1 - self.dampening)
        updates.copy_(rows)

    def state_dict(self) -> dict[str, Tensor]:
        """All rows, on the CPU."""
        return {"rows": self.rows.to("cpu", copy=True)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the rows of a checkpoint.

        Raises:
            ValueError: another number of clients or coordinates.
        """
        rows = state["rows"]
        if rows.shape != self.rows.shape:
            raise ValueError(
                f"Expected worker momentum of shape {tuple(self.rows.shape)} in the checkpoint,"
                f" got {tuple(rows.shape)}."
            )
        with torch.no_grad():
            self.rows.copy_(rows)
