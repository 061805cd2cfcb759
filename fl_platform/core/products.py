"""Inner products and weighted sums of update rows: the only passes over the whole matrix.

Products are float32 within a chunk of columns and float64 across chunks, always of rows less a
common point, because squared distances of rows that are close relative to their mean cancel.
The compiled kernel and torch agree to float32's rounding, not to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fl_platform.core import kernels
from fl_platform.core.geometry import median_distances, squared_distances
from fl_platform.core.precision import tensor_float32

if TYPE_CHECKING:
    from fl_platform.core.updates import Updates

CHUNK = 2048  # columns; 50 rows and their centred copy lie in one core's L2 cache
SAMPLE_BLOCKS, SAMPLE_WIDTH = 64, 32  # columns from which the first centre is guessed
TOLERATED = 16.0  # a centre whose median squared distance is so many times the best is kept


def weighted_sum(matrix: Tensor, weights: Tensor) -> Tensor:
    """``weights @ matrix`` that reads no row of weight zero."""
    used = (weights != 0).tolist()
    starts = [i for i, use in enumerate(used) if use and not (i and used[i - 1])]
    stops = [i + 1 for i, use in enumerate(used) if use and used[i + 1 : i + 2] != [True]]
    runs = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    with tensor_float32(False):
        if len(runs) == 1:
            return weights[runs[0]] @ matrix[runs[0]]
        total = matrix.new_zeros(matrix.shape[1])
        size = 65536  # a run adds into a part of the sum that is still in cache
        for start in range(0, matrix.shape[1] if runs else 0, size):
            part = slice(start, start + size)
            for run in runs:
                total[part].addmv_(matrix[run, part].T, weights[run])
    return total


def centred_products(updates: Updates, centre: Tensor, left: Tensor | None = None) -> Tensor:
    """Float64 inner products of rows less ``centre``: of ``left`` with the rows, or of all pairs.

    Args:
        updates: m rows.
        centre: ``(d,)``.
        left: ``(k, d)``, or ``None`` for the rows themselves.

    Returns:
        ``(k, m)``, or the symmetric ``(m, m)``.
    """
    rows = updates.rows()
    if rows is None:
        products = None
    elif left is not None and len(left) == 1:  # one read, nothing is copied into the cache
        along = kernels.offsets(rows, centre, left[0] - centre)
        products = None if along is None else along[None]
    else:
        products = kernels.products(rows, centre, left)
    if products is None:
        products = _chunked(updates, centre, left, updates.dtype)
    if updates.dtype == torch.float32:  # squares below 1e-38 or above 1e38 are lost: use float64
        extent = products.diagonal() if left is None else products.abs().flatten()
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


def _chunked(updates: Updates, centre: Tensor, left: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Products with ``left``: all rows if ``None``, the rows at a ``(k,)`` index, or ``(k, d)``."""
    size = CHUNK if updates.device.type == "cpu" else 32 * CHUNK
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
    rows = updates.rows()
    if rows is not None:
        found = kernels.offsets(rows, centre, direction.contiguous())
        if found is not None and bool(found.isfinite().all()):
            return found
    with tensor_float32(False):
        for part, chunk in updates.columns(CHUNK):
            total += (chunk - centre[part]) @ direction[part]
    return total


def aligned(updates: Updates, direction: Tensor) -> tuple[Tensor, Tensor]:
    """``(m,)`` float64 ``<g_i, direction>`` and ``||g_i||^2``; a chunk is used twice in cache."""
    for dtype in (updates.dtype, torch.float64):  # float64 holds every square of a float32
        inner = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
        squares = torch.zeros_like(inner)
        along = direction.to(device=updates.device, dtype=dtype)
        with tensor_float32(False):
            for part, chunk in updates.columns(CHUNK):
                rows = chunk.to(dtype)
                inner += rows @ along[part]
                squares += torch.linalg.vector_norm(rows, dim=1).double().square()
        small = 1e-34 * updates.dimension  # below, float32 squares have gone under
        if bool((inner.isfinite() & squares.isfinite()).all()) and bool(squares.median() >= small):
            break
    return inner, squares


def squared_distances_to(updates: Updates, point: Tensor) -> Tensor:
    """``(m,)`` float64 ``||g_i - point||^2``."""
    point = point.to(device=updates.device, dtype=updates.dtype)
    rows = updates.rows()
    found = kernels.offsets(rows, point) if rows is not None else None
    small = 1e-34 * updates.dimension  # below, float32 squares have gone under
    if found is not None and bool(found.isfinite().all()) and bool(found.median() >= small):
        return found
    total = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    for part, chunk in updates.columns(CHUNK):  # float64 holds every square of a float32
        total += (chunk - point[part]).double().square().sum(1)
    return total


def robust_gram(updates: Updates) -> tuple[Tensor, Tensor]:
    """The Gram about a row that a minority cannot choose, and that row.

    A sample of columns names a row of small median distance. Rows that look honest only there
    are found out by the whole Gram, in which distances *to* the centre are exact whatever it
    is: the pass is then repeated about the row that it shows to be central. All that is decided
    here is decided on sums over all coordinates, so processes that hold some each agree.

    Returns:
        ``(m, m)`` float64, and the ``(d,)`` centre.
    """
    sample = _sample(updates.matrix)
    squares = torch.cdist(sample, sample, compute_mode="donot_use_mm_for_euclid_dist").square()
    index = int(median_distances(updates.summed(squares)).argmin())
    for _ in range(3):
        centre = updates.matrix[index]
        gram = updates.summed(centred_products(updates, centre))
        spread = median_distances(squared_distances(gram))
        if bool(spread[index] <= TOLERATED * spread.min()):
            break
        index = int(spread.argmin())
    return gram, centre


def _sample(matrix: Tensor) -> Tensor:
    """``(m, <= 2048)`` columns in short runs spread evenly over the vector."""
    d = matrix.shape[1]
    if d <= SAMPLE_BLOCKS * SAMPLE_WIDTH:
        return matrix
    starts = [block * (d - SAMPLE_WIDTH) // (SAMPLE_BLOCKS - 1) for block in range(SAMPLE_BLOCKS)]
    return torch.cat([matrix[:, start : start + SAMPLE_WIDTH] for start in starts], 1)
