"""Whether Triton's kernels of a stack can be used, tried once on each device."""

from __future__ import annotations

import functools
import importlib.util
import logging
from types import ModuleType

import torch
from torch import Tensor

LOG = logging.getLogger(__name__)


def has_triton() -> bool:
    """Whether Triton can be imported; torch brings it for CUDA on Linux."""
    return importlib.util.find_spec("triton") is not None


def kernels(x: Tensor) -> ModuleType | None:
    """The module ``triton_layers`` where its kernels run for such a tensor; ``None``: use torch."""
    if not x.is_cuda or x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return None
    return _tried(x.device)


@functools.cache
def _tried(device: torch.device) -> ModuleType | None:
    """Imports and runs a kernel: a machine may lack the compiler that Triton starts."""
    if not has_triton():
        return None
    try:
        from fl_platform.federated.client_training import triton_layers

        triton_layers.activate(torch.ones(1, 1, 2, 2, 4, device=device), None, True, (2, 2), (1, 1))
    except Exception as error:  # whatever a compiler raises
        LOG.warning("Triton cannot be used on %s (%s); torch's own operations are.", device, error)
        return None
    return triton_layers
