"""Training of one client after the other: the reference for all other client trainers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.batches import Relabel, batches, stream
from fl_platform.federated.client_training.draws import Augmentation, draws_numbers, named_draws
from fl_platform.federated.client_training.trainer import Clients
from fl_platform.federated.client_training.workspace import Workspace


class Sequential:
    """One client at a time, one batch at a time, in one workspace.

    Where ``steps`` is 1 and the network has no buffers, no client moves the workspace: each
    gradient is taken at the server's parameters and is the update itself.

    Args:
        model: the network; copied.
        clients: their samples and settings.
        channels_last: memory format of the weights of convolutions in the workspace.
    """

    moves = False  # whether each step has to move the workspace

    def __init__(self, model: nn.Module, clients: Clients, *, channels_last: bool = False) -> None:
        self.clients = clients
        self.workspace = Workspace(model, channels_last=channels_last)
        self.draws = draws_numbers(self.workspace.model)

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

        Arguments and result are those of `Way.train`.
        """
        workspace, (parameters, buffers) = self.workspace, start
        losses = torch.zeros(len(clients), device=rows.device)
        if self.clients.settings.steps == 1 and not (self.moves or workspace.buffers):
            workspace.begin(parameters, buffers)
            for i, client in enumerate(clients):
                self.clients.between()
                with named_draws(self.draws, self.clients.seed, round_index, client, rows.device):
                    ((inputs, targets),) = self._batches(client, round_index, relabel)
                    loss = self._loss_of(inputs, targets)
                losses[i] = loss.detach()
                workspace.write_gradient(parameters, loss, rows[i], self.clients.settings)
            return losses
        for i, client in enumerate(clients):
            self.clients.between()
            workspace.begin(parameters, buffers)
            with named_draws(self.draws, self.clients.seed, round_index, client, rows.device):
                losses[i] = self._train_one(client, round_index, relabel)
            workspace.write_update(parameters, rows[i])
            if buffer_rows is not None:
                deltas = [
                    (theirs.double() - mine.double()).reshape(-1)
                    for theirs, mine in zip(buffers, workspace.buffers, strict=True)
                ]
                buffer_rows[i] = torch.cat(deltas)
        return losses

    def _train_one(self, client: int, round_index: int, relabel: Relabel | None) -> Tensor:
        """Train the workspace on one client's samples: the mean loss of its steps."""
        total, steps = torch.zeros((), device=self.workspace.parameters.device), 0
        for inputs, targets in self._batches(client, round_index, relabel):
            total += self._step(inputs, targets)
            steps += 1
        return total / steps

    def _batches(
        self, client: int, round_index: int, relabel: Relabel | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of the client's steps of one round."""
        federation, settings = self.clients.federation, self.clients.settings
        samples = federation.samples
        seed, change = self.clients.seed, None
        draws = stream(seed, round_index, client)
        merge = self.workspace.normalises_batches
        if settings.augments:
            change = Augmentation(settings, seed, round_index, client)
        own, device = federation.clients[client], samples.inputs.device
        for batch in batches(own, settings, draws, merge, device):
            inputs, targets = samples.read(batch, change)
            if relabel is not None:
                targets = relabel(targets)
            yield inputs, targets

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step on one batch: its loss."""
        workspace = self.workspace
        workspace.gradients.zero_()
        value = self._loss_of(inputs, targets)
        value.backward()
        workspace.step(self.clients.settings)
        return value.detach()

    def _loss_of(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss on one batch, with its graph."""
        return self.clients.loss(self.workspace.model(inputs), targets)
