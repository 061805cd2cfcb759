"""One step of SGD on flat vectors, of one client or of many at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
        parameters: ``(..., d)``, one row a client.
        gradients: ``(..., d)``; overwritten.
        momentum: ``(..., d)``, zero before a client's first step.
        settings: rates.
        frozen: coordinates that do not train, so that decay leaves them alone too.
    """
    if settings.clip is not None:
        norms = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
        # 1e-6 as in clip_grad_norm_: a zero gradient must stay zero, not become NaN.
        gradients.mul_((settings.clip / (norms + 1e-6)).clamp_(max=1.0))
    if settings.weight_decay:
        gradients.add_(parameters, alpha=settings.weight_decay)
    for part in frozen:
        gradients[..., part] = 0.0
    if settings.momentum:
        gradients = momentum.mul_(settings.momentum).add_(gradients)
    parameters.add_(gradients, alpha=-settings.lr)
