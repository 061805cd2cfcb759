"""SGD of many clients in one kernel; imports Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fl_platform.federated.client_training.settings import LocalTraining

BLOCK = 2048  # coordinates per program: 16 for each of 128 threads, loaded 4 at a time


@triton.jit
def _move(  # type: ignore[no-untyped-def]
    parameters, gradients, momentum, norms, active,
    width, parameter_row, gradient_row, momentum_row,
    lr, heaviness, decay, clip,
    CLIPS: tl.constexpr, HEAVY: tl.constexpr, SOME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    client = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if SOME:  # noqa: SIM102 - decided when compiled, the next line on the device
        if tl.load(active + client) == 0:
            return
    inside = columns < width
    at = parameters + client * parameter_row + columns
    value = tl.load(at, mask=inside, other=0.0)
    change = tl.load(gradients + client * gradient_row + columns, mask=inside, other=0.0)
    if CLIPS:
        change = change * tl.minimum(clip / (tl.load(norms + client) + 1e-6), 1.0)
    change = change + decay * value
    if HEAVY:
        kept = momentum + client * momentum_row + columns
        change = tl.load(kept, mask=inside, other=0.0) * heaviness + change
        tl.store(kept, change, mask=inside)
    tl.store(at, value - lr * change, mask=inside)


def fused_sgd_step(
    parameters: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    settings: LocalTraining,
    active: Tensor | None = None,
) -> None:
    """As `stacked_sgd_step`, for float32 rows whose numbers lie side by side."""
    clients, width = parameters.shape
    clips = settings.clip is not None
    norms = torch.linalg.vector_norm(gradients, dim=1) if clips else parameters
    _move[(triton.cdiv(width, BLOCK), clients)](
        parameters, gradients, momentum, norms,
        parameters if active is None else active.view(torch.uint8),
        width, parameters.stride(0), gradients.stride(0), momentum.stride(0),
        settings.lr, settings.momentum, settings.weight_decay, settings.clip or 0.0,
        CLIPS=clips, HEAVY=settings.momentum > 0, SOME=active is not None, BLOCK=BLOCK,
    )  # fmt: skip
