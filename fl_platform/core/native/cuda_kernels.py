"""Calls of the CUDA kernels for the passes over the matrix; ``None`` means: use torch.

All kernels take addresses of rows, so selected, repeated and added rows need no copy, and the host
need not know the selection. One thread computes one column; adjacent threads read adjacent
numbers. A test compiles the same sources as C++ with a loop for the threads (`LANES` is then 1).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from fl_platform.core.native import compiler as native
from fl_platform.core.native import cuda
from fl_platform.core.sorting_network import network

THREADS = 128
SPAN = 4096  # columns per block of `offsets`
MOST_VALUES = 128  # rows whose values fit one thread
MOST_EIGEN = 54  # rows and columns of a matrix of which two copies fit a block's 48 KB
SQUARINGS = 40
NAMES = {torch.float32: "float", torch.float64: "double"}


def source(name: str, dtype: torch.dtype = torch.float64, **definitions: object) -> str:
    """The CUDA of the file ``name`` for entries of ``dtype``, after its ``#define`` lines."""
    sizes = {"THREADS": THREADS, "SPAN": SPAN, "MOST": MOST_EIGEN, "SQUARINGS": SQUARINGS}
    return native.source(f"{name}.cu", NUMBER=NAMES[dtype], **sizes, **definitions)


@functools.lru_cache(maxsize=64)
def ranks_source(m: int, first: int, stop: int, dtype: torch.dtype) -> str:
    """CUDA for the mean of the ranks ``first`` .. ``stop - 1`` of m values; NaN if one is NaN."""
    least, most = ("fminf", "fmaxf") if dtype == torch.float32 else ("fmin", "fmax")
    lines = [f"const T x{i} = rows[{i}][k];" for i in range(m)]
    lines.append("bool number = true;")
    lines += [f"number &= x{i} == x{i};" for i in range(m)]
    names = [f"x{i}" for i in range(m)]
    for count, (low, high, needs_low, needs_high) in enumerate(network(m, first, stop)):
        a, b = names[low], names[high]
        if needs_low:
            names[low] = f"a{count}"
            lines.append(f"const T a{count} = {least}({a}, {b});")
        if needs_high:
            names[high] = f"b{count}"
            lines.append(f"const T b{count} = {most}({a}, {b});")
    lines.append(f"T total = {names[first]};")
    lines += [f"total = total + {names[rank]};" for rank in range(first + 1, stop)]
    lines.append(f"total = total / T({stop - first}) + T(0);")
    lines.append("out[k] = number ? total : T(0) / (total - total);")
    return source("columns", dtype, BODY=" ".join(lines))


@functools.lru_cache(maxsize=64)
def variances_source(m: int, dtype: torch.dtype) -> str:
    """CUDA for the population variance of m values, added in the order of the rows."""
    lines = [f"T x{i} = rows[{i}][k];" for i in range(m)]
    lines.append("T mean = x0;")
    lines += [f"mean = mean + x{i};" for i in range(1, m)]
    lines.append(f"mean = mean / T({m});")
    lines.append("T apart, squares = 0;")
    for i in range(m):
        lines.append(f"apart = x{i} - mean;")
        lines.append("squares = squares + apart * apart;")
    lines.append(f"out[k] = squares / T({m});")
    return source("columns", dtype, BODY=" ".join(lines))


def addresses(matrix: Tensor) -> Tensor | None:
    """``(m,)`` int64 addresses of a GPU matrix's rows; ``None`` if entries are not contiguous."""
    if matrix.device.type != "cuda" or matrix.dtype not in NAMES or matrix.is_neg():
        return None
    if matrix.shape[1] > 1 and matrix.stride(1) != 1:
        return None
    places = torch.arange(len(matrix), device=matrix.device)
    return places * (matrix.stride(0) * matrix.element_size()) + matrix.data_ptr()


def mean_of_ranks(rows: Tensor, first: int, stop: int, out: Tensor) -> bool:
    """Write the mean of the ranks ``first`` .. ``stop - 1`` to ``out``; False if not possible."""
    if len(rows) > MOST_VALUES:
        return False
    return _columns(ranks_source(len(rows), first, stop, out.dtype), rows, out)


def variances(rows: Tensor, out: Tensor) -> bool:
    """Write the population variance of each column to ``out``; False if not possible."""
    if len(rows) > MOST_VALUES:
        return False
    return _columns(variances_source(len(rows), out.dtype), rows, out)


def _columns(text: str, rows: Tensor, out: Tensor) -> bool:
    run = cuda.kernel(text, "columns", cuda.SAME_BITS, out.device)
    if run is None:
        return False
    run(-(-out.numel() // THREADS), THREADS, rows, out.numel(), out)
    return True


def weighted_sum(rows: Tensor, weights: Tensor, dimension: int) -> Tensor | None:
    """``(d,)`` sum of the rows at ``(m,)`` addresses times ``(m,)`` weights of their type."""
    text = source("weighted", weights.dtype)
    run = cuda.kernel(text, "weighted", cuda.FUSED, weights.device)
    if run is None:
        return None
    out = weights.new_empty(dimension)
    run(-(-dimension // THREADS), THREADS, rows, weights.contiguous(), len(rows), dimension, out)
    return out


def offsets(rows: Tensor, point: Tensor, along: Tensor | None = None) -> Tensor | None:
    """``(m,)`` float64 ``<g_i - point, along>``, or squared distances to the point; or ``None``."""
    run = cuda.kernel(source("offsets", point.dtype), "offsets", cuda.FUSED, point.device)
    if run is None:
        return None
    blocks = -(-len(point) // SPAN)
    sums = torch.empty(len(rows), 8 * blocks, dtype=torch.float64, device=point.device)
    along = None if along is None else along.to(point).contiguous()
    run(blocks, 256, rows, len(rows), point.contiguous(), along, len(point), sums)
    return sums.sum(1)


def leading(matrix: Tensor) -> Tensor | None:
    """``(1 + m,)`` the largest eigenvalue of an ``(m, m)`` float64 Gram and its vector."""
    if len(matrix) > MOST_EIGEN:
        return None
    run = cuda.kernel(source("leading"), "leading", cuda.FUSED, matrix.device)
    if run is None:
        return None
    out = matrix.new_empty(1 + len(matrix))
    run(1, 256, matrix.contiguous(), len(matrix), out)
    return out
