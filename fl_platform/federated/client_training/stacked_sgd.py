"""One step of SGD of many clients, some of which may have finished."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.client_training.stacked_kernels import kernels
from fl_platform.federated.client_training.workspace import sgd_step


def stacked_sgd_step(
    parameters: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    settings: LocalTraining,
    active: Tensor | None = None,
) -> None:
    """`sgd_step` of the clients that are active; the others stay to the bit.

    On a GPU in one kernel after the norms: with momentum it reads parameters, gradients and
    momentum once and writes the first and the last, 20 bytes per coordinate, where single
    operations of torch move 48 to 80.

    Args:
        parameters: ``(C, d)``, one row per client.
        gradients: ``(C, d)``; may be overwritten.
        momentum: ``(C, d)``, zero before a client's first step; of a client that is not active
            it means nothing.
        settings: rates.
        active: ``(C,)`` booleans; ``None``: all.
    """
    if parameters.dtype == torch.float32 and kernels(parameters):
        from fl_platform.federated.client_training.triton_sgd import (
            fused_sgd_step,  # Triton is optional
        )

        fused_sgd_step(parameters, gradients, momentum, settings, active)
        return
    if active is None:
        sgd_step(parameters, gradients, momentum, settings)
        return
    before = parameters.clone()
    sgd_step(parameters, gradients, momentum, settings)
    parameters.copy_(torch.where(active[:, None], parameters, before))
