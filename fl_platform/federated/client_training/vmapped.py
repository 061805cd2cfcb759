"""Train many clients at once: one step moves a whole chunk of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.federated.client_training.batches import Relabel, num_steps, side_by_side, stream
from fl_platform.federated.client_training.draws import draws_numbers
from fl_platform.federated.client_training.stacked import cross_entropy, stacked_forward
from fl_platform.federated.client_training.trainer import Clients, Loss
from fl_platform.federated.client_training.workspace import Workspace, sgd_step

# Coordinates of a chunk's parameters. On a CPU parameters, gradients and momentum (3 MB) stay in
# cache; on a GPU they fill 800 MB.
CHUNK = {"cpu": 2**18, "cuda": 2**26}


def obstacle(model: nn.Module, loss: Loss = F.cross_entropy, augments: bool = False) -> str:
    """Why clients of this model cannot be trained side by side; empty where they can."""
    if loss is not F.cross_entropy:
        return "the loss is not cross-entropy, so a batch cannot be filled up"
    if any(True for _ in model.buffers()):
        return "the model has buffers (batch normalisation), which each client must have its own of"
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return "the model normalises over a batch, which filling up would change"
    if draws_numbers(model):
        return "the model draws random numbers (dropout)"
    if any(getattr(m, "padding_idx", None) is not None for m in model.modules()):
        return "the model has an embedding with padding_idx, which vmap applies to one client alone"
    if augments:
        return "images are cropped or flipped client by client"
    return ""


class Vmapped:
    """Chunks of clients with stacked parameters; a client's arithmetic is that of `Sequential`.

    Clients are sorted by their number of steps, so that those still training are the first rows
    of the stack; short batches are filled up with samples of weight zero.

    Args:
        model: the network; copied.
        clients: their samples and settings.
        chunk: clients trained at once; ``None`` for what fits `CHUNK`.

    Raises:
        ValueError: the model or the loss does not allow it, see `obstacle`.
    """

    def __init__(self, model: nn.Module, clients: Clients, chunk: int | None = None) -> None:
        if reason := obstacle(model, clients.loss, clients.settings.augments):
            raise ValueError(
                f"Expected a model whose clients can train in parallel, but {reason};"
                " use runtime.local=auto or sequential."
            )
        workspace = Workspace(model)
        self.clients = clients
        self.frozen = workspace.frozen
        self.parts = {
            name: (part, value.shape)
            for (name, value), part in zip(
                workspace.model.named_parameters(), workspace.parts, strict=True
            )
        }
        self.trains = [n for n, p in workspace.model.named_parameters() if p.requires_grad]
        self.forward = stacked_forward(workspace.model)
        d, device = len(workspace.parameters), workspace.parameters.device
        room = CHUNK["cpu" if device.type == "cpu" else "cuda"]
        self.chunk = chunk or max(1, min(room // d, len(clients.federation)))
        shape = (self.chunk, d)
        self.parameters, self.gradients, self.momentum = (
            torch.zeros(shape, device=device, dtype=workspace.parameters.dtype) for _ in range(3)
        )

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
        sizes = [len(self.clients.federation.clients[client]) for client in clients]
        steps = [num_steps(size, self.clients.settings) for size in sizes]
        order = sorted(range(len(clients)), key=lambda i: -steps[i])
        losses = torch.zeros(len(clients), device=rows.device)
        for first in range(0, len(order), self.chunk):
            self.clients.between()
            places = order[first : first + self.chunk]
            total = self._train_chunk([clients[i] for i in places], round_index, start[0], relabel)
            where = torch.tensor(places).to(rows.device, non_blocking=True)
            stack = self.parameters[: len(places)]
            rows[where] = torch.sub(start[0], stack, out=stack).to(rows.dtype)
            taken = torch.tensor([steps[i] for i in places]).to(rows.device, non_blocking=True)
            losses[where] = total / taken
        return losses

    def _train_chunk(
        self, clients: Sequence[int], round_index: int, start: Tensor, relabel: Relabel | None
    ) -> Tensor:
        """Leave the clients' parameters in the first rows of the stack: sums of their losses."""
        own = self.clients
        samples = own.federation.samples
        plan = side_by_side(
            [own.federation.clients[client] for client in clients],
            [stream(own.seed, round_index, client) for client in clients],
            own.settings,
            samples,
            relabel,
        )
        self.parameters.copy_(start)
        self.momentum.zero_()
        losses = torch.zeros(len(clients), device=start.device)
        for step, active in enumerate(plan.active):
            inputs, _ = samples.read(plan.index[:active, step].reshape(-1))
            losses[:active] += self._step(
                inputs.unflatten(0, (active, -1)),
                plan.targets[:active, step],
                plan.shares[:active, step],
            )
        return losses

    def _step(self, inputs: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
        """One step of each of the first clients of the stack: their losses."""
        active = slice(0, len(inputs))
        values = {
            name: self.parameters[active, part].unflatten(1, shape)
            for name, (part, shape) in self.parts.items()
        }
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        outputs = self.forward(leaves, inputs)
        losses, gradient = cross_entropy(outputs, targets, shares)
        wanted = [leaves[name] for name in self.trains]
        gradients = torch.autograd.grad(outputs, wanted, gradient, materialize_grads=True)
        for name, value in zip(self.trains, gradients, strict=True):
            part = self.parts[name][0]
            self.gradients[active, part] = value.flatten(1)
        stacks = (self.parameters[active], self.gradients[active], self.momentum[active])
        sgd_step(*stacks, self.clients.settings, self.frozen)
        return losses
