"""One stored vector per client, by the client's number, for rules with memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fl_platform.core import Updates


class Histories:
    """One ``(d,)`` vector per client, on the rows' device; n clients take n d numbers."""

    def __init__(self) -> None:
        self.clients = torch.empty(0, dtype=torch.int64)
        self.rows: Tensor | None = None

    def places(self, updates: Updates, clients: Tensor) -> Tensor:
        """``(m,)`` positions of these clients among the rows; new ones start at zero.

        Raises:
            ValueError: rows of another dimension than before.
        """
        if self.rows is None:
            self.rows = torch.empty((0, updates.dimension), dtype=updates.dtype)
        if self.rows.shape[1] != updates.dimension:
            raise ValueError(
                f"Expected updates of dimension {self.rows.shape[1]}, as in the earlier"
                f" rounds, got {updates.dimension}."
            )
        self.rows = self.rows.to(updates.device, updates.dtype)
        known = self.clients.tolist()
        new = [one for one in clients.tolist() if one not in set(known)]
        if new:
            self.clients = torch.tensor(known + new)
            room = self.rows.new_zeros(len(new), updates.dimension)
            self.rows = torch.cat([self.rows, room])
        where = {one: place for place, one in enumerate(self.clients.tolist())}
        return torch.tensor([where[one] for one in clients.tolist()])

    def state_dict(self) -> dict[str, Any]:
        """The known clients, and the vector of each."""
        return {"clients": self.clients, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.clients, self.rows = state["clients"], state["rows"]


def numbered(updates: Updates, clients: Tensor | None) -> Tensor:
    """``(m,)`` clients of the rows; by default row i is client i."""
    return torch.arange(len(updates)) if clients is None else clients.cpu()
