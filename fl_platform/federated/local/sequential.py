"""Train clients one after the other: the reference that every other way must equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fl_platform.core.rng import generator
from fl_platform.federated.federation import Federation
from fl_platform.federated.local.settings import LocalTraining
from fl_platform.federated.local.workspace import Workspace

Loss = Callable[[Tensor, Tensor], Tensor]


def batches(
    index: Tensor, settings: LocalTraining, stream: torch.Generator, merge_single: bool
) -> Iterator[Tensor]:
    """A client's shuffled batches over all its epochs.

    Args:
        index: ``(N_i,)`` the client's samples.
        settings: epochs and batch size.
        stream: where the order of each epoch is drawn from.
        merge_single: join a last batch of one sample to the one before, because batch
            normalisation has no variance to take over a single sample.
    """
    for _ in range(settings.epochs):
        order = index[torch.randperm(len(index), generator=stream)]
        parts = list(order.split(settings.batch))
        if merge_single and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        yield from parts


def train_client(
    workspace: Workspace,
    federation: Federation,
    client: int,
    settings: LocalTraining,
    stream: torch.Generator,
    loss: Loss = F.cross_entropy,
    relabel: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Train the workspace on one client's samples and return the mean loss of its steps."""
    total, steps = torch.zeros((), device=workspace.parameters.device), 0
    index = federation.clients[client]
    for batch in batches(index, settings, stream, workspace.normalises_batches):
        inputs, targets = federation.samples.read(batch.to(federation.samples.inputs.device))
        if relabel is not None:
            targets = relabel(targets)
        workspace.gradients.zero_()
        value = loss(workspace.model(inputs), targets)
        value.backward()
        workspace.step(settings)
        total += value.detach()
        steps += 1
    return total / steps


def train_clients(
    workspace: Workspace,
    federation: Federation,
    clients: Sequence[int],
    settings: LocalTraining,
    seed: int,
    round_index: int,
    start: tuple[Tensor, list[Tensor]],
    rows: Tensor,
    buffer_rows: Tensor | None = None,
    loss: Loss = F.cross_entropy,
    relabel: Callable[[Tensor], Tensor] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Train each client from the server's state and write its update into its row (eq. 2).

    Args:
        workspace: the model that is trained.
        federation: the clients' samples.
        clients: ids, one for each row.
        settings: local SGD.
        seed: the run's seed; a client's order of samples is the stream
            ``(seed, "batches", round, client)``.
        round_index: t.
        start: the server's flat parameters ``(d,)`` and its buffers.
        rows: ``(len(clients), d)``; row i becomes ``w - w_i``.
        buffer_rows: ``(len(clients), b)`` float64; row i becomes the change of the buffers.
        loss: from outputs and targets to a scalar.
        relabel: replaces the targets, for clients that poison their labels.
        between: called before each client; may raise to stop.

    Returns:
        ``(len(clients),)`` mean training loss of each client.
    """
    parameters, buffers = start
    losses = torch.zeros(len(clients), device=rows.device)
    for i, client in enumerate(clients):
        between()
        workspace.begin(parameters, buffers)
        stream = generator(seed, "batches", round_index, client)
        losses[i] = train_client(workspace, federation, client, settings, stream, loss, relabel)
        torch.sub(parameters, workspace.parameters, out=rows[i])
        if buffer_rows is not None:
            deltas = [
                (theirs.double() - mine.double()).reshape(-1)
                for theirs, mine in zip(buffers, workspace.buffers, strict=True)
            ]
            buffer_rows[i] = torch.cat(deltas)
    return losses
