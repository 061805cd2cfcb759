"""Inner products and weighted sums of update rows: the only passes over the whole matrix.

Products are float32 within a chunk of columns and float64 across chunks, always of rows minus a
common point, because squared distances of rows that are close relative to their mean cancel.
The compiled kernel and torch agree up to float32 rounding, not to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fl_platform.core.deferred import assumed, on_device
from fl_platform.core.geometry import median_distances, squared_distances
from fl_platform.core.native import cuda_kernels, kernels
from fl_platform.core.precision import tensor_float32

if TYPE_CHECKING:
    from fl_platform.core.updates import Updates

CHUNK = 2048  # columns; 50 rows and their centred copy fit the L2 cache of one core
GPU_CHUNK = 4096  # columns of one float32 product on a GPU, which computes many in parallel
GPU_SLAB = 1 << 20  # columns of one centred copy on a GPU
SAMPLE_BLOCKS, SAMPLE_WIDTH = 64, 32  # columns for the guess of the first centre
TOLERATED = 16.0  # a centre is kept up to this multiple of the least median squared distance


def weighted_sum(matrix: Tensor, weights: Tensor) -> Tensor:
    """``weights @ matrix`` that reads no row of weight zero."""
    if on_device(matrix):
        return _weighted_on_device(matrix, weights)
    used = (weights != 0).tolist()
    starts = [i for i, use in enumerate(used) if use and not (i and used[i - 1])]
    stops = [i + 1 for i, use in enumerate(used) if use and used[i + 1 : i + 2] != [True]]
    runs = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    with tensor_float32(False):
        if len(runs) == 1:
            return weights[runs[0]] @ matrix[runs[0]]
        total = matrix.new_zeros(matrix.shape[1])
        size = 65536  # the part of the sum for a run of columns stays in cache
        for start in range(0, matrix.shape[1] if runs else 0, size):
            part = slice(start, start + size)
            for run in runs:
                total[part].addmv_(matrix[run, part].T, weights[run])
    return total


def _weighted_on_device(matrix: Tensor, weights: Tensor) -> Tensor:
    rows = cuda_kernels.addresses(matrix)
    total = None
    if rows is not None:
        total = cuda_kernels.weighted_sum(rows, weights.to(matrix), matrix.shape[1])
    if total is not None:
        return total
    total = matrix.new_empty(matrix.shape[1])
    used = (weights != 0)[:, None]
    with tensor_float32(False):
        for start in range(0, matrix.shape[1], GPU_SLAB):  # 0 * NaN is NaN: replace by zeros
            part = matrix[:, start : start + GPU_SLAB]
            total[start : start + GPU_SLAB] = weights @ torch.where(used, part, 0.0)
    return total


def centred_products(updates: Updates, centre: Tensor, left: Tensor | None = None) -> Tensor:
    """Float64 inner products of rows minus ``centre``: of ``left`` with the rows, or of all pairs.

    Args:
        updates: m rows.
        centre: ``(d,)``.
        left: ``(k, d)``, or ``None`` for the rows themselves.

    Returns:
        ``(k, m)``, or the symmetric ``(m, m)``.
    """
    rows = updates.rows()
    if on_device(centre):
        products = _on_device(updates, centre, left)
    elif rows is None:
        products = None
    elif left is not None and len(left) == 1:  # one read, no copy
        along = kernels.offsets(rows, centre, left[0] - centre)
        products = None if along is None else along[None]
    else:
        products = kernels.products(rows, centre, left)
    if products is None:
        products = _chunked(updates, centre, left, updates.dtype)
    extent = products.diagonal() if left is None else products.abs().flatten()
    if updates.dtype == torch.float32 and not assumed(_kept(extent, updates.dimension)):
        # Squares below 1e-38 or above 1e38 are lost: use float64.
        if bool(extent.nanmedian() < 1e-34 * updates.dimension):
            products = _chunked(updates, centre, left, torch.float64)
        elif left is None:
            lost = (~extent.isfinite()).nonzero().flatten()
            if len(lost):
                products[lost] = _chunked(updates, centre, lost, torch.float64)
                products[:, lost] = products[lost].T
        elif not products.isfinite().all():
            products = _chunked(updates, centre, left, torch.float64)
    return (products + products.T) / 2 if left is None else products


def _kept(extent: Tensor, dimension: int) -> Tensor:
    """True if float32 sufficed for the products: all finite, and the middle one not too small."""
    middle = extent.sort().values[(len(extent) - 1) // 2]
    return extent.isfinite().all() & (middle >= 1e-34 * dimension)


def _on_device(updates: Updates, centre: Tensor, left: Tensor | None) -> Tensor:
    """As `centred_products`: one vector by a kernel, else many products of chunks in parallel."""
    if left is not None and len(left) == 1:
        rows = updates.addresses()
        along = None if rows is None else cuda_kernels.offsets(rows, centre, left[0] - centre)
        if along is not None:
            return along[None]
    if left is None and len(updates) == 1:
        rows = updates.addresses()
        square = None if rows is None else cuda_kernels.offsets(rows, centre)
        if square is not None:
            return square[None]
    shape = (len(updates) if left is None else len(left), len(updates))
    total = torch.zeros(shape, dtype=torch.float64, device=updates.device)
    with tensor_float32(False):
        for part, chunk in updates.columns(GPU_SLAB):
            rows = chunk - centre[part]
            other = rows if left is None else left[:, part] - centre[part]
            whole = rows.shape[1] // GPU_CHUNK * GPU_CHUNK
            if whole:
                a, b = (x[:, :whole].unflatten(1, (-1, GPU_CHUNK)) for x in (other, rows))
                products = torch.bmm(a.transpose(0, 1), b.permute(1, 2, 0))
                total += products.sum(0, dtype=torch.float64)
            if whole < rows.shape[1]:
                total += other[:, whole:] @ rows[:, whole:].T
    return total


def _chunked(updates: Updates, centre: Tensor, left: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Products with ``left``: all rows if ``None``, the rows at a ``(k,)`` index, or ``(k, d)``."""
    size = 32 * CHUNK if on_device(centre) else CHUNK
    shape = (len(updates) if left is None else len(left), len(updates))
    total = torch.zeros(shape, dtype=torch.float64, device=updates.device)
    with tensor_float32(False):
        for part, chunk in updates.columns(size):
            origin = centre[part].to(dtype)
            rows = chunk.to(dtype) - origin
            if left is None:
                other = rows
            else:
                other = rows[left] if left.ndim == 1 else left[:, part].to(dtype) - origin
            total += other @ rows.T
    return total


def projections(updates: Updates, centre: Tensor, direction: Tensor) -> Tensor:
    """``(m,)`` float64 ``<g_i - centre, direction>``."""
    total = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    direction = direction.to(centre)
    if on_device(centre):
        places = updates.addresses()
        found = None if places is None else cuda_kernels.offsets(places, centre, direction)
        if found is not None:
            return found
    rows = None if on_device(centre) else updates.rows()
    if rows is not None:
        found = kernels.offsets(rows, centre, direction.contiguous())
        if found is not None and bool(found.isfinite().all()):
            return found
    with tensor_float32(False):
        for part, chunk in updates.columns(GPU_SLAB if on_device(centre) else CHUNK):
            total += _along(chunk - centre[part], direction[part])
    return total


def aligned(updates: Updates, direction: Tensor) -> tuple[Tensor, Tensor]:
    """``(m,)`` float64 ``<g_i, direction>`` and ``||g_i||^2``; a chunk is used twice in cache."""
    stored = None if on_device(updates.device) else updates.rows()
    found = None
    if stored is not None:
        found = kernels.aligned(
            stored, direction.to(device="cpu", dtype=updates.dtype).contiguous()
        )
    if found is not None:
        inner, squares = found
        if bool(inner.isfinite().all()) and _in_range(squares, updates.dimension):
            return inner, squares
    for dtype in (updates.dtype, torch.float64):  # float64 holds every square of a float32
        inner = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
        squares = torch.zeros_like(inner)
        along = direction.to(device=updates.device, dtype=dtype)
        with tensor_float32(False):
            for part, chunk in updates.columns(CHUNK):
                rows = chunk.to(dtype)
                inner += _along(rows, along[part])
                squares += torch.linalg.vector_norm(rows, dim=1).double().square()
        if bool(inner.isfinite().all()) and _in_range(squares, updates.dimension):
            break
    return inner, squares


def _along(rows: Tensor, direction: Tensor) -> Tensor:
    """``rows @ direction``, on a GPU as float64 sums of float32 sums over short runs."""
    if not on_device(rows):
        return rows @ direction
    whole = rows.shape[1] // GPU_CHUNK * GPU_CHUNK
    runs = rows[:, :whole].unflatten(1, (-1, GPU_CHUNK))
    sums = torch.einsum("mcw,cw->mc", runs, direction[:whole].view(-1, GPU_CHUNK))
    return sums.sum(1, dtype=torch.float64) + rows[:, whole:] @ direction[whole:]


def squared_norms(updates: Updates) -> Tensor:
    """``(m,)`` float64 ``||g_i||^2``."""
    rows = None if on_device(updates.device) else updates.rows()
    found = None if rows is None else kernels.offsets(rows, None)
    if found is not None and _in_range(found, updates.dimension):
        return found
    origin = torch.zeros(updates.dimension, dtype=updates.dtype, device=updates.device)
    return squared_distances_to(updates, origin)


def _in_range(squares: Tensor, dimension: int) -> bool:
    """Whether float32 held the squares: below 1e-34 a coordinate they go under."""
    return bool(squares.isfinite().all()) and bool(squares.median() >= 1e-34 * dimension)


def squared_distances_to(updates: Updates, point: Tensor) -> Tensor:
    """``(m,)`` float64 ``||g_i - point||^2``."""
    point = point.to(device=updates.device, dtype=updates.dtype)
    if on_device(point):
        places = updates.addresses()
        found = None if places is None else cuda_kernels.offsets(places, point)
        if found is not None:  # in float64, which holds every square of a float32
            return found
    rows = None if on_device(point) else updates.rows()
    found = kernels.offsets(rows, point) if rows is not None else None
    if found is not None and _in_range(found, updates.dimension):
        return found
    total = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    size = GPU_SLAB if on_device(point) else CHUNK
    for part, chunk in updates.columns(size):  # float64 holds every square of a float32
        total += (chunk - point[part]).double().square().sum(1)
    return total


def robust_gram(updates: Updates) -> tuple[Tensor, Tensor]:
    """The Gram about a row that a minority cannot choose, and that row.

    A sample of columns yields a row of small median distance. The whole Gram, in which distances
    *to* the centre are exact for any centre, shows if that row is central over all columns; if
    not, the pass is repeated about the central row. All decisions use sums over all coordinates,
    so processes that each hold some of them agree.

    Returns:
        ``(m, m)`` float64, and the ``(d,)`` centre.
    """
    sample = _sample(updates.matrix)
    squares = torch.cdist(sample, sample, compute_mode="donot_use_mm_for_euclid_dist").square()
    index = median_distances(updates.summed(squares)).argmin()
    for _ in range(3):
        centre = _row(updates.matrix, index)
        gram = updates.summed(centred_products(updates, centre))
        spread = median_distances(squared_distances(gram))
        if assumed(_row(spread, index) <= TOLERATED * spread.min()):
            break
        index = spread.argmin()
    return gram, centre


def _row(matrix: Tensor, index: Tensor) -> Tensor:
    """``matrix[index]`` for one index, which the host does not read from a GPU."""
    return matrix.index_select(0, index[None])[0] if on_device(matrix) else matrix[int(index)]


def _sample(matrix: Tensor) -> Tensor:
    """``(m, <= 2048)`` columns in short runs, evenly spaced over the vector."""
    d = matrix.shape[1]
    if d <= SAMPLE_BLOCKS * SAMPLE_WIDTH:
        return matrix
    if on_device(matrix):
        first = torch.arange(SAMPLE_BLOCKS, device=matrix.device) * (d - SAMPLE_WIDTH)
        first = first.div(SAMPLE_BLOCKS - 1, rounding_mode="floor")
        places = first[:, None] + torch.arange(SAMPLE_WIDTH, device=matrix.device)
        return matrix.index_select(1, places.flatten())
    starts = [block * (d - SAMPLE_WIDTH) // (SAMPLE_BLOCKS - 1) for block in range(SAMPLE_BLOCKS)]
    return torch.cat([matrix[:, start : start + SAMPLE_WIDTH] for start in starts], 1)
