"""Conversion between a model's state and one flat vector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

State = Literal["parameters", "all"]


def state_tensors(model: nn.Module, state: State = "parameters") -> list[Tensor]:
    """The tensors of an update: the parameters that train, or these and then every buffer.

    A parameter with ``requires_grad=False`` is frozen: no part of an update.

    ``"all"`` as in the STRIKE authors' code: running statistics and their integer counters are
    attacked and aggregated too.
    """
    tensors: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    return tensors if state == "parameters" else tensors + list(model.buffers())


def flatten(tensors: Iterable[Tensor], out: Tensor | None = None) -> Tensor:
    """One vector with a copy of all entries, in order.

    Args:
        tensors: parameters or buffers of any shape and type, at least one of them. Integers
            become floating point: float32 holds them exactly up to 2^24.
        out: ``(d,)`` vector to write to, such as a row of the update matrix. Default: a new one.

    Returns:
        ``(d,)``: ``out``, or a new vector of the widest floating type among the tensors,
        float32 at least.

    Raises:
        ValueError: no tensor, or ``out`` of another length.
    """
    parts = [tensor.detach().reshape(-1) for tensor in tensors]
    if not parts:
        raise ValueError("Expected at least one tensor to flatten, got none.")
    size = sum(part.numel() for part in parts)
    if out is None:
        wide = any(part.dtype == torch.float64 for part in parts)
        dtype = torch.float64 if wide else torch.float32
        out = torch.empty(size, dtype=dtype, device=parts[0].device)
    elif out.shape != (size,):
        raise ValueError(f"Expected out of shape ({size},), got {tuple(out.shape)}.")
    for part, room in zip(parts, out.split([part.numel() for part in parts]), strict=True):
        room.copy_(part)
    return out


@torch.no_grad()
def assign(tensors: Iterable[Tensor], vector: Tensor) -> None:
    """Copy the entries of ``vector`` into ``tensors``, in order.

    ``torch.nn.utils.vector_to_parameters`` makes the parameters *views* of the vector, so a later
    in-place optimizer step also changes the vector, and with it every client that starts from
    it. Here no memory is shared.

    Args:
        tensors: parameters or buffers; integer ones receive the nearest integer.
        vector: ``(d,)`` with exactly as many entries.

    Raises:
        ValueError: the lengths differ.
    """
    tensors = list(tensors)
    size = sum(tensor.numel() for tensor in tensors)
    if vector.shape != (size,):
        raise ValueError(f"Expected a vector of shape ({size},), got {tuple(vector.shape)}.")
    parts = vector.detach().split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        whole = not tensor.is_floating_point()
        tensor.copy_((part.round() if whole else part).view_as(tensor))
