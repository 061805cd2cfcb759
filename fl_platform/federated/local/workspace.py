"""A client's copy of the model, whose parameters and gradients are slices of two flat vectors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fl_platform.federated.local.settings import LocalTraining


class Workspace:
    """The model that clients train in turn, apart from the server's.

    The flat layout makes a step of SGD a handful of operations whatever the number of layers,
    and an update one subtraction. It stays outside the Lightning module's registered parameters,
    so that neither checkpoints nor a DDP reducer see it.

    Args:
        model: copied; its own tensors are never touched.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).train()
        tensors = list(self.model.parameters())
        self.parameters = torch.cat([p.detach().reshape(-1) for p in tensors])  # (d,)
        self.gradients = torch.zeros_like(self.parameters)
        self.momentum = torch.zeros_like(self.parameters)
        start = 0
        for parameter in tensors:
            stop = start + parameter.numel()
            parameter.data = self.parameters[start:stop].view_as(parameter)
            if parameter.requires_grad:
                parameter.grad = self.gradients[start:stop].view_as(parameter)
            start = stop
        self.buffers = list(self.model.buffers())
        self.normalises_batches = any(
            isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules()
        )

    def begin(self, parameters: Tensor, buffers: list[Tensor]) -> None:
        """Start a client from the server's state; the momentum is forgotten."""
        self.parameters.copy_(parameters)
        self.momentum.zero_()
        for mine, theirs in zip(self.buffers, buffers, strict=True):
            mine.copy_(theirs)

    def step(self, settings: LocalTraining) -> None:
        """One step of SGD on the gradients at hand: clip, decay, momentum, move.

        The arithmetic of ``clip_grad_norm_`` followed by ``torch.optim.SGD``, on flat vectors.
        """
        gradient = self.gradients
        if settings.clip is not None:
            # 1e-6 as in clip_grad_norm_: a zero gradient must stay zero, not become NaN.
            gradient.mul_((settings.clip / (gradient.norm() + 1e-6)).clamp_(max=1.0))
        if settings.weight_decay:
            gradient.add_(self.parameters, alpha=settings.weight_decay)
        if settings.momentum:
            gradient = self.momentum.mul_(settings.momentum).add_(gradient)
        self.parameters.add_(gradient, alpha=-settings.lr)
