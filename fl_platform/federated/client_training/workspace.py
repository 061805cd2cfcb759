"""A client's copy of the model, with parameters and gradients as slices of two flat vectors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.settings import LocalTraining


def sgd_step(
    parameters: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    settings: LocalTraining,
    frozen: Sequence[slice] = (),
) -> None:
    """Clip, decay, momentum, move: ``clip_grad_norm_`` and then ``torch.optim.SGD``, in place.

    Args:
        parameters: ``(..., d)``, one row per client.
        gradients: ``(..., d)``; overwritten.
        momentum: ``(..., d)``, zero before a client's first step.
        settings: rates.
        frozen: coordinates that do not train, so that decay leaves them alone too.
    """
    descend(parameters, gradients, settings, frozen)
    if settings.momentum:
        gradients = momentum.mul_(settings.momentum).add_(gradients)
    parameters.add_(gradients, alpha=-settings.lr)


def descend(
    parameters: Tensor, gradients: Tensor, settings: LocalTraining, frozen: Sequence[slice] = ()
) -> None:
    """Clip the gradients and add the decay, in place; what is frozen has none.

    Arguments are those of `sgd_step`.
    """
    if settings.clip is not None:
        norms = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
        # 1e-6 as in clip_grad_norm_: a zero gradient must stay zero, not become NaN.
        gradients.mul_((settings.clip / (norms + 1e-6)).clamp_(max=1.0))
    if settings.weight_decay:
        gradients.add_(parameters, alpha=settings.weight_decay)
    for part in frozen:
        gradients[..., part] = 0.0


class Workspace:
    """The model that is trained for one client after the other, apart from the server's.

    With the flat layout a step of SGD is a few operations for any number of layers, and an update
    is one subtraction. It is not among the Lightning module's registered parameters, so neither
    checkpoints nor a DDP reducer contain it.

    Args:
        model: copied; its own tensors are never touched.
        channels_last: keep the weights of convolutions ``(O, I, h, w)`` in the memory order
            ``(O, h, w, I)``; the flat vectors then have another order than the server's.
    """

    def __init__(self, model: nn.Module, *, channels_last: bool = False) -> None:
        self.model = copy.deepcopy(model).train()
        tensors = list(self.model.parameters())
        self.parameters = torch.cat([p.detach().reshape(-1) for p in tensors])  # (d,)
        self.gradients = torch.zeros_like(self.parameters)
        self.momentum = torch.zeros_like(self.parameters)
        self.parts: list[slice] = []  # of each parameter, in their order
        self.frozen: list[slice] = []  # of those that do not train
        start = 0
        for parameter in tensors:
            part = slice(start, start + parameter.numel())
            turned = channels_last and parameter.ndim == 4
            parameter.data = _shaped(self.parameters[part], parameter.shape, turned)
            if parameter.requires_grad:
                parameter.grad = _shaped(self.gradients[part], parameter.shape, turned)
            else:
                self.frozen.append(part)
            self.parts.append(part)
            start = part.stop
        self.tensors: list[Tensor] = [*tensors]
        self.turned = channels_last
        self.buffers = list(self.model.buffers())
        self.normalises_batches = any(
            isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules()
        )

    def begin(self, parameters: Tensor, buffers: list[Tensor]) -> None:
        """Start a client from the server's state with zero momentum."""
        if self.turned:
            for mine, part in zip(self.tensors, self.parts, strict=True):
                mine.data.copy_(parameters[part].view(mine.shape))
        else:
            self.parameters.copy_(parameters)
        self.momentum.zero_()
        for mine, theirs in zip(self.buffers, buffers, strict=True):
            mine.copy_(theirs)

    def write_update(self, parameters: Tensor, row: Tensor) -> None:
        """Write ``parameters`` less the workspace's, in the order of the former, to ``row``."""
        if not self.turned:
            torch.sub(parameters, self.parameters, out=row)
            return
        for mine, part in zip(self.tensors, self.parts, strict=True):
            old, new = (flat[part].view(mine.shape) for flat in (parameters, row))
            torch.sub(old, mine.detach(), out=new)

    def write_gradient(
        self, parameters: Tensor, loss: Tensor, row: Tensor, settings: LocalTraining
    ) -> None:
        """Write the update of a client's only step to ``row``: the rate times the gradient.

        It equals `begin`, `step` and `write_update` but for what ``w - (w - g)`` rounds, and no
        weight moves: one pass over the row in place of eight over the workspace.

        Args:
            parameters: ``(d,)`` at which the workspace is.
            loss: of the batch.
            row: ``(d,)`` written, in the server's order.
            settings: rates.
        """
        trained = [p for p in self.tensors if p.requires_grad]
        found = iter(torch.autograd.grad(loss, trained, materialize_grads=True))
        for mine, part in zip(self.tensors, self.parts, strict=True):
            if mine.requires_grad:
                row[part].view(mine.shape).copy_(next(found))
            else:
                row[part] = 0.0  # it counts in the length that clipping reads
        descend(parameters, row, settings, self.frozen)
        if settings.lr != 1.0:
            row.mul_(settings.lr)

    def step(self, settings: LocalTraining) -> None:
        """One step of SGD on the present gradients."""
        sgd_step(self.parameters, self.gradients, self.momentum, settings, self.frozen)


def _shaped(flat: Tensor, shape: torch.Size, turned: bool) -> Tensor:
    """A view of ``flat`` in ``shape``; turned: in channels_last memory order."""
    if not turned:
        return flat.view(shape)
    out, channels, height, width = shape
    return flat.view(out, height, width, channels).permute(0, 3, 1, 2)


def on_current(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one: new streams and kernels of Triton go there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
