"""CUDA kernels for the passes over the matrix, and their calls; ``None`` means: use torch.

All kernels take addresses of rows, so selected, repeated and added rows need no copy, and the host
need not know the selection. One thread computes one column; adjacent threads read adjacent
numbers. A test compiles the same sources as C++ with a loop for the threads (`LANES` is then 1).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from fl_platform.core.native import cuda
from fl_platform.core.sorting_network import network

THREADS = 128
SPAN = 4096  # columns per block of `offsets`
MOST_VALUES = 128  # rows whose values fit one thread
MOST_EIGEN = 54  # rows and columns of a matrix of which two copies fit a block's 48 KB
SQUARINGS = 40
NAMES = {torch.float32: "float", torch.float64: "double"}

_COLUMNS = r"""
typedef @T@ T;
extern "C" __global__ void __launch_bounds__(@THREADS@)
columns(const T* const* __restrict__ rows, long long d, T* __restrict__ out) {
  const long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (k >= d) return;
@BODY@
}
"""

_WEIGHTED = r"""
typedef @T@ T;
// out[k] = sum of weights[i] * rows[i][k] over the rows with a weight; the others are not read.
extern "C" __global__ void __launch_bounds__(@THREADS@)
weighted(const T* const* __restrict__ rows, const T* __restrict__ weights, long long m,
         long long d, T* __restrict__ out) {
  const long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (k >= d) return;
  T total = 0;
#pragma unroll 8
  for (int i = 0; i < (int)m; i++) {
    const T weight = weights[i];
    total += weight != 0 ? weight * rows[i][k] : T(0);
  }
  out[k] = total;
}
"""

_OFFSETS = r"""
typedef @T@ T;
#ifndef LANES
#define LANES 32
#endif
enum { SPAN = @SPAN@, WIDTH = LANES * 8, U = SPAN / WIDTH };
// sums[i][w] = the part of sum_k (rows[i][k] - point[k]) * along[k] that warp w has added, or of
// its square without `along`. The difference is rounded to T, products and sums are double.
extern "C" __global__ void __launch_bounds__(WIDTH)
offsets(const T* const* __restrict__ rows, long long m, const T* __restrict__ point,
        const T* __restrict__ along, long long d, double* __restrict__ sums) {
  const int lane = threadIdx.x % LANES, warps = WIDTH / LANES;
  const long long at = (long long)blockIdx.x * SPAN + threadIdx.x;
  const long long column = (long long)blockIdx.x * warps + threadIdx.x / LANES;
  const long long width = (long long)gridDim.x * warps;
  T origin[U], way[U];
#pragma unroll
  for (int u = 0; u < U; u++) {
    const long long k = at + u * WIDTH;
    origin[u] = k < d ? point[k] : T(0);
    way[u] = along && k < d ? along[k] : T(0);
  }
  for (int i = 0; i < (int)m; i++) {
    const T* row = rows[i];
    T x[U];
#pragma unroll
    for (int u = 0; u < U; u++) {
      const long long k = at + u * WIDTH;
      x[u] = (k < d ? row[k] : T(0)) - origin[u];
    }
    double total = 0;
#pragma unroll
    for (int u = 0; u < U; u++) total += (double)x[u] * (double)(along ? way[u] : x[u]);
    for (int apart = LANES / 2; apart; apart /= 2)
      total += __shfl_xor_sync(0xffffffffu, total, apart);
    if (lane == 0) sums[i * width + column] = total;
  }
}
"""

_LEADING = r"""
// The leading eigenvector of a symmetric (m, m) matrix without negative eigenvalues but for
// rounding: the matrix is squared so often that every smaller eigenvalue has vanished beside it;
// each column is then a multiple of the vector. out[0] = eigenvalue, out[1 ..] = vector.
extern "C" __global__ void leading(const double* __restrict__ matrix, long long size,
                                   double* __restrict__ out) {
  __shared__ double pages[2][@MOST@ * @MOST@];
  __shared__ double vector[@MOST@], image[@MOST@];
  __shared__ double scale;
  const int m = (int)size, cells = m * m, step = blockDim.x, me = threadIdx.x;
  double *now = pages[0], *next = pages[1];
  for (int c = me; c < cells; c += step) now[c] = matrix[c];
  __syncthreads();
  for (int round = 0; round <= @SQUARINGS@; round++) {
    if (me == 0) {
      scale = 0;
      for (int i = 0; i < m; i++) scale += now[i * m + i];
    }
    __syncthreads();
    const double by = scale > 0 ? 1 / scale : 1.0;
    for (int c = me; c < cells; c += step) now[c] *= by;
    __syncthreads();
    if (round == @SQUARINGS@) break;
    for (int c = me; c < cells; c += step) {
      const double *row = now + c / m * m, *column = now + c % m;
      double total = 0;
      for (int k = 0; k < m; k++) total += row[k] * column[k * m];
      next[c] = total;
    }
    __syncthreads();
    double* other = now;
    now = next;
    next = other;
  }
  if (me == 0) {
    int best = 0;
    for (int i = 1; i < m; i++)
      if (now[i * m + i] > now[best * m + best]) best = i;
    double length = 0;
    for (int i = 0; i < m; i++) length += now[best * m + i] * now[best * m + i];
    length = sqrt(length);
    for (int i = 0; i < m; i++) vector[i] = length > 0 ? now[best * m + i] / length : i == 0;
  }
  __syncthreads();
  for (int i = me; i < m; i += step) {
    double total = 0;
    for (int k = 0; k < m; k++) total += matrix[i * m + k] * vector[k];
    image[i] = total;
    out[1 + i] = vector[i];
  }
  __syncthreads();
  if (me == 0) {
    double value = 0;
    for (int i = 0; i < m; i++) value += vector[i] * image[i];
    out[0] = value;
  }
}
"""


def filled(source: str, dtype: torch.dtype = torch.float64, **words: object) -> str:
    """A source with its placeholders replaced."""
    words = {
        "T": NAMES[dtype],
        "THREADS": THREADS,
        "SPAN": SPAN,
        "MOST": MOST_EIGEN,
        "SQUARINGS": SQUARINGS,
        **words,
    }
    for word, value in words.items():
        source = source.replace(f"@{word}@", str(value))
    return source


@functools.lru_cache(maxsize=64)
def ranks_source(m: int, first: int, stop: int, dtype: torch.dtype) -> str:
    """CUDA for the mean of the ranks ``first`` .. ``stop - 1`` of m values; NaN if one is NaN."""
    least, most = ("fminf", "fmaxf") if dtype == torch.float32 else ("fmin", "fmax")
    lines = [f"  const T x{i} = rows[{i}][k];" for i in range(m)]
    lines.append("  bool number = true;")
    lines += [f"  number &= x{i} == x{i};" for i in range(m)]
    names = [f"x{i}" for i in range(m)]
    for count, (low, high, needs_low, needs_high) in enumerate(network(m, first, stop)):
        a, b = names[low], names[high]
        if needs_low:
            names[low] = f"a{count}"
            lines.append(f"  const T a{count} = {least}({a}, {b});")
        if needs_high:
            names[high] = f"b{count}"
            lines.append(f"  const T b{count} = {most}({a}, {b});")
    lines.append(f"  T total = {names[first]};")
    lines += [f"  total = total + {names[rank]};" for rank in range(first + 1, stop)]
    lines.append(f"  total = total / T({stop - first}) + T(0);")
    lines.append("  out[k] = number ? total : T(0) / (total - total);")
    return filled(_COLUMNS, dtype, BODY="\n".join(lines))


@functools.lru_cache(maxsize=64)
def variances_source(m: int, dtype: torch.dtype) -> str:
    """CUDA for the population variance of m values, added in the order of the rows."""
    lines = [f"  T x{i} = rows[{i}][k];" for i in range(m)]
    lines.append("  T mean = x0;")
    lines += [f"  mean = mean + x{i};" for i in range(1, m)]
    lines.append(f"  mean = mean / T({m});")
    lines.append("  T apart, squares = 0;")
    for i in range(m):
        lines.append(f"  apart = x{i} - mean;")
        lines.append("  squares = squares + apart * apart;")
    lines.append(f"  out[k] = squares / T({m});")
    return filled(_COLUMNS, dtype, BODY="\n".join(lines))


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


def _columns(source: str, rows: Tensor, out: Tensor) -> bool:
    run = cuda.kernel(source, "columns", cuda.SAME_BITS, out.device)
    if run is None:
        return False
    run(-(-out.numel() // THREADS), THREADS, rows, out.numel(), out)
    return True


def weighted_sum(rows: Tensor, weights: Tensor, dimension: int) -> Tensor | None:
    """``(d,)`` sum of the rows at ``(m,)`` addresses times ``(m,)`` weights of their type."""
    source = filled(_WEIGHTED, weights.dtype)
    run = cuda.kernel(source, "weighted", cuda.FUSED, weights.device)
    if run is None:
        return None
    out = weights.new_empty(dimension)
    run(-(-dimension // THREADS), THREADS, rows, weights.contiguous(), len(rows), dimension, out)
    return out


def offsets(rows: Tensor, point: Tensor, along: Tensor | None = None) -> Tensor | None:
    """``(m,)`` float64 ``<g_i - point, along>``, or squared distances to the point; or ``None``."""
    run = cuda.kernel(filled(_OFFSETS, point.dtype), "offsets", cuda.FUSED, point.device)
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
    run = cuda.kernel(filled(_LEADING), "leading", cuda.FUSED, matrix.device)
    if run is None:
        return None
    out = matrix.new_empty(1 + len(matrix))
    run(1, 256, matrix.contiguous(), len(matrix), out)
    return out
