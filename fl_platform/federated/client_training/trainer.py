"""The interface of the client trainers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional as F

from fl_platform.federated.client_training.batches import Relabel
from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.federation import Federation

Loss = Callable[[Tensor, Tensor], Tensor]
WayName = Literal["sequential", "channels_last", "vmapped", "graphed", "stacked"]


@dataclass(frozen=True)
class Clients:
    """The constants of all rounds.

    Attributes:
        federation: the clients' samples, on the device that trains.
        settings: local SGD.
        seed: the run's seed; a client's order of samples is the stream
            ``(seed, "batches", round, client)``.
        loss: from outputs and targets to a scalar.
        between: called between two clients; may raise to stop.
    """

    federation: Federation
    settings: LocalTraining
    seed: int = 0
    loss: Loss = F.cross_entropy
    between: Callable[[], None] = lambda: None


class Way(Protocol):
    """A client trainer; all client trainers give the same updates up to float32 rounding.

    Attributes:
        clients: read by each call of ``train``; their settings are those of the round.
    """

    clients: Clients

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

        Args:
            clients: ids, one per row.
            round_index: t.
            start: the server's flat parameters ``(d,)`` and its buffers.
            rows: ``(len(clients), d)``; row i becomes ``w - w_i``.
            buffer_rows: ``(len(clients), b)`` float64; row i becomes the change of the buffers.
            relabel: replaces the targets, for clients that poison their labels: a function of
                each label alone, of any shape, which is called on the CPU or on the device.

        Returns:
            ``(len(clients),)`` mean training loss of each client over its steps.
        """
