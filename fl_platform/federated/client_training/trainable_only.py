"""Rows of trainable coordinates for networks with frozen parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.batches import Relabel
from fl_platform.federated.client_training.trainer import Clients, Way


class TrainableOnly:
    """A client trainer whose rows have no coordinates of frozen parameters.

    As many clients as the inner trainer trains at once are written to whole rows, of which the
    trainable coordinates are copied.

    Args:
        way: the inner trainer, of the same network.
        model: the network; parameters with ``requires_grad=False`` are frozen.
    """

    def __init__(self, way: Way, model: nn.Module) -> None:
        self._way = way
        self._parts, self._width = [], 0
        for parameter in model.parameters():
            if parameter.requires_grad:
                self._parts.append(slice(self._width, self._width + parameter.numel()))
            self._width += parameter.numel()

    @property
    def clients(self) -> Clients:
        """Those of the inner trainer."""
        return self._way.clients

    @clients.setter
    def clients(self, clients: Clients) -> None:
        self._way.clients = clients

    def train(
        self,
        clients: Sequence[int],
        round_index: int,
        start: tuple[Tensor, list[Tensor]],
        rows: Tensor,
        buffer_rows: Tensor | None = None,
        relabel: Relabel | None = None,
    ) -> Tensor:
        """Train each client from the server's state and write its update into its row (eq. 2).

        Arguments and result are those of `Way.train`, except that ``rows`` has as many columns as
        there are trainable coordinates; ``start`` has all parameters.
        """
        size = min(getattr(self._way, "chunk", 1), len(clients))
        whole = rows.new_empty(size, self._width)
        losses = [torch.zeros(0, device=rows.device)]
        for first in range(0, len(clients), size or 1):
            here = slice(first, min(first + size, len(clients)))
            filled = whole[: here.stop - first]
            beside = None if buffer_rows is None else buffer_rows[here]
            losses.append(
                self._way.train(clients[here], round_index, start, filled, beside, relabel)
            )
            parts = [filled[:, part] for part in self._parts]
            rows[here] = torch.cat(parts, 1)
        return torch.cat(losses)


def for_trainable(way: Way, model: nn.Module) -> Way:
    """``way`` itself if all parameters train, else `TrainableOnly`."""
    frozen = any(not parameter.requires_grad for parameter in model.parameters())
    return TrainableOnly(way, model) if frozen else way
