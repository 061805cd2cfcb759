"""Arithmetic of torch: settings of the whole process, set within a block and restored after it.

They are the older of torch's two sets: if the newer one (``fp32_precision``) is set, reading the
older raises, and Lightning reads it on every GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS is deterministic only with workspaces of fixed size


@contextmanager
def tensor_float32(allowed: bool) -> Iterator[None]:
    """Allow or forbid that float32 products and convolutions on a GPU round inputs to TF32.

    torch's own default forbids it in products and allows it in convolutions.

    Args:
        allowed: use 10 bits of mantissa instead of 23, on tensor cores; sums stay float32.
    """
    products = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use deterministic algorithms only; torch raises for an operation without one.

    Args:
        wanted: ``False`` changes nothing.
    """
    if not wanted:
        yield
        return
    cudnn, workspaces = torch.backends.cudnn, os.environ.get(CUBLAS)
    before = cudnn.deterministic, cudnn.benchmark
    strict, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ.setdefault(CUBLAS, ":4096:8")
    cudnn.deterministic, cudnn.benchmark = True, False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        cudnn.deterministic, cudnn.benchmark = before
        if workspaces is None:
            os.environ.pop(CUBLAS, None)
