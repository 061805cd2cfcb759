"""One step of SGD of many clients, some of which may have finished."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.client_training.sgd import sgd_step


def stacked_sgd_step(
    parameters: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    settings: LocalTraining,
    active: Tensor | None = None,
) -> None:
    """`sgd_step` of the clients that are active; the others stay to the bit.

    Args:
        parameters: ``(C, d)``, one row per client.
        gradients: ``(C, d)``; overwritten.
        momentum: ``(C, d)``, zero before a client's first step; of a client that is not active
            it means nothing.
        settings: rates.
        active: ``(C,)`` booleans; ``None``: all.
    """
    if active is None:
        sgd_step(parameters, gradients, momentum, settings)
        return
    before = parameters.clone()
    sgd_step(parameters, gradients, momentum, settings)
    torch.where(active[:, None], parameters, before, out=parameters)
