"""C++ kernels for the passes over the matrix, and their calls; ``None`` means: use torch.

Three kernels: the mean of consecutive ranks of every column (a generated sorting network), the
variance of every column, and inner products of centred rows. All take row pointers, so selected,
repeated and added rows need no copy.
"""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from fl_platform.core.native import compiler as native
from fl_platform.core.sorting_network import network

MOST_WIRES = 128  # a larger network takes minutes to compile; use a sort instead
WORTH_BUILDING = 1 << 20  # entries; for fewer, a build costs more than it saves
NAMES = {torch.float32: "float", torch.float64: "double"}

_RANKS = r"""
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif
typedef @T@ T;
#if defined(__AVX512F__)
#define BYTES 64
#define V(op) _mm512_##op##_@SUFFIX@
typedef @VEC512@ vec;
#elif defined(__AVX__)
#define BYTES 32
#define V(op) _mm256_##op##_@SUFFIX@
typedef @VEC256@ vec;
#endif
#ifdef BYTES
static inline vec load(const T* p) { return V(loadu)(p); }
static inline void store(T* p, vec x) { V(storeu)(p, x); }
static inline vec lesser(vec a, vec b) { return V(min)(a, b); }
static inline vec larger(vec a, vec b) { return V(max)(a, b); }
static inline vec add(vec a, vec b) { return V(add)(a, b); }
static inline vec over(vec a, T b) { return V(div)(a, V(set1)(b)); }
static inline vec zero() { return V(set1)(T(0)); }
#else
#define BYTES sizeof(T)
typedef T vec;
static inline vec load(const T* p) { return *p; }
static inline void store(T* p, vec x) { *p = x; }
static inline vec lesser(vec a, vec b) { return a < b ? a : b; }
static inline vec larger(vec a, vec b) { return a > b ? a : b; }
static inline vec add(vec a, vec b) { return a + b; }
static inline vec over(vec a, T b) { return a / b; }
static inline vec zero() { return T(0); }
#endif
static const long N = @N@, W = BYTES / sizeof(T);

static inline __attribute__((always_inline)) void step(const T* const* rows, long k, T* out) {
@BODY@
}

extern "C" void mean_of_ranks(const T* const* rows, long d, T* out) {
  long k = 0;
  for (; k + W <= d; k += W) step(rows, k, out + k);
  if (k == d) return;
  T tail[N][W], last[W];  // the columns that fill no vector, padded with zeros
  const T* padded[N];
  for (long i = 0; i < N; i++) {
    for (long l = 0; l < W; l++) tail[i][l] = k + l < d ? rows[i][k + l] : T(0);
    padded[i] = tail[i];
  }
  step(padded, 0, last);
  std::memcpy(out + k, last, (d - k) * sizeof(T));
}
"""

_VARIANCES = r"""
#include <cstring>
typedef @T@ T;
#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
typedef T vec __attribute__((vector_size(BYTES)));
enum { W = BYTES / sizeof(T), U = 4, BLOCK = U * W };

static inline vec load(const T* p) { vec x; std::memcpy(&x, p, BYTES); return x; }

static inline void step(const T* const* rows, long m, long at, T* out) {
  vec mean[U], squares[U];
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) mean[u] = load(rows[0] + at + u * W);
  for (long i = 1; i < m; i++)
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) mean[u] += load(rows[i] + at + u * W);
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) mean[u] /= (T)m, squares[u] = vec{};
  for (long i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) {
      const vec apart = load(rows[i] + at + u * W) - mean[u];
      squares[u] += apart * apart;
    }
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) {
    squares[u] /= (T)m;
    std::memcpy(out + u * W, &squares[u], BYTES);
  }
}

// `spare` holds m * BLOCK values and m pointers hold their rows: the columns that fill no block.
extern "C" void variances(const T* const* rows, long m, long d, T* out, T* spare,
                           const T** spares) {
  long at = 0;
  for (; at + BLOCK <= d; at += BLOCK) step(rows, m, at, out + at);
  if (at == d) return;
  for (long i = 0; i < m; i++) {
    for (long k = 0; k < BLOCK; k++) spare[i * BLOCK + k] = at + k < d ? rows[i][at + k] : T(0);
    spares[i] = spare + i * BLOCK;
  }
  T last[BLOCK];
  step(spares, m, 0, last);
  std::memcpy(out + at, last, (d - at) * sizeof(T));
}
"""

_PRODUCTS = r"""
#include <cstdlib>
#include <cstring>
typedef @T@ T;
#if defined(__AVX512F__)
enum { BYTES = 64, R = 5 };  // R * R sums, R rows and one more operand fit the registers
#elif defined(__AVX__)
enum { BYTES = 32, R = 3 };
#else
enum { BYTES = 16, R = 3 };
#endif
typedef T vec __attribute__((vector_size(BYTES)));
enum { W = BYTES / sizeof(T), FLUSH = 8192 };

static void tile(const T* a, const T* b, long width, long stride, vec* sums) {
  vec s[R][R];
  for (int i = 0; i < R; i++) for (int j = 0; j < R; j++) s[i][j] = sums[i * R + j];
  for (long k = 0; k < width; k += W) {
    vec x[R];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) x[i] = *(const vec*)(a + i * stride + k);
#pragma GCC unroll 8
    for (int j = 0; j < R; j++) {
      vec y = *(const vec*)(b + j * stride + k);
#pragma GCC unroll 8
      for (int i = 0; i < R; i++) s[i][j] += x[i] * y;
    }
  }
  for (int i = 0; i < R; i++) for (int j = 0; j < R; j++) sums[i * R + j] = s[i][j];
}

static void fill(const T* const* rows, long m, const T* origin, long at, long n, long stride,
                 T* to) {
  for (long i = 0; i < m; i++) {
    const T* row = rows[i] + at;
    T* line = to + i * stride;
    for (long k = 0; k < n; k++) line[k] = row[k] - origin[at + k];
    for (long k = n; k % W; k++) line[k] = T(0);
  }
}

// out[i] = sum_k (rows[i][k] - point[k]) * along[k], or its square without `along`
extern "C" void offsets(const T* const* rows, long m, const T* point, const T* along, long d,
                        double* out) {
  enum { SPAN = 1024, U = 4 };  // the span of `point` and `along` stays in the first-level cache
  for (long at = 0; at < d; at += SPAN) {
    const long end = d - at < SPAN ? d : at + SPAN;
    for (long i = 0; i < m; i++) {
      vec s[U] = {};
      long k = at;
      for (; k + U * W <= end; k += U * W)
#pragma GCC unroll 4
        for (int u = 0; u < U; u++) {
          vec x, y, z;
          std::memcpy(&x, rows[i] + k + u * W, BYTES);
          std::memcpy(&y, point + k + u * W, BYTES);
          x -= y;
          if (along) std::memcpy(&z, along + k + u * W, BYTES);
          else z = x;
          s[u] += x * z;
        }
      double total = 0;
      for (; k < end; k++) {
        const T apart = rows[i][k] - point[k];
        total += (double)apart * (double)(along ? along[k] : apart);
      }
      s[0] = (s[0] + s[1]) + (s[2] + s[3]);
      for (int l = 0; l < W; l++) total += (double)s[0][l];
      out[i] += total;
    }
  }
}

// out[i * m + j] = sum_k (left[i][k] - centre[k]) * (rows[j][k] - centre[k]); without `left` the
// rows themselves, of which only the blocks on and above the diagonal are written.
extern "C" int products(const T* const* rows, long m, const T* const* left, long k,
                        const T* centre, long d, double* out) {
  const long mt = (m + R - 1) / R, kt = left ? (k + R - 1) / R : mt;
  long width = 262144 / (long)((mt + (left ? kt : 0)) * R * sizeof(T)) / W * W;
  if (width < 128) width = 128;
  if (width > 2048) width = 2048;
  const long stride = width + W;  // not a power of two: rows keep to cache sets of their own
  const size_t cells = (size_t)(mt + (left ? kt : 0)) * R * stride * sizeof(T);
  const size_t room = (size_t)mt * kt * R * R * sizeof(vec);
  T* b = (T*)std::aligned_alloc(64, (cells + 63) / 64 * 64);
  vec* sums = (vec*)std::aligned_alloc(64, (room + 63) / 64 * 64);
  if (!b || !sums) { std::free(b); std::free(sums); return 1; }
  std::memset(b, 0, cells);
  std::memset(sums, 0, room);
  T* a = left ? b + mt * R * stride : b;
  long held = 0;
  for (long at = 0; at < d; at += width) {
    const long n = d - at < width ? d - at : width, whole = (n + W - 1) / W * W;
    fill(rows, m, centre, at, n, stride, b);
    if (left) fill(left, k, centre, at, n, stride, a);
    for (long i = 0; i < kt; i++)
      for (long j = left ? 0 : i; j < mt; j++)
        tile(a + i * R * stride, b + j * R * stride, whole, stride, sums + (i * mt + j) * R * R);
    held += n;
    if (held < FLUSH && at + n < d) continue;
    held = 0;  // sums in T stay short; the long sums are in double
    for (long i = 0; i < kt; i++)
      for (long j = left ? 0 : i; j < mt; j++)
        for (long p = 0; p < R; p++)
          for (long q = 0; q < R; q++) {
            const long r = i * R + p, c = j * R + q;
            vec& s = sums[(i * mt + j) * R * R + p * R + q];
            if (r < (left ? k : m) && c < m)
              for (long l = 0; l < W; l++) out[r * m + c] += (double)s[l];
            s = vec{};
          }
  }
  std::free(b);
  std::free(sums);
  return 0;
}
"""


@functools.lru_cache(maxsize=64)
def ranks_source(n: int, first: int, stop: int, dtype: torch.dtype) -> str:
    """C++ for the mean of the ranks ``first`` .. ``stop - 1`` of n values, per column."""
    lines = [f"  vec x{i} = load(rows[{i}] + k);" for i in range(n)]
    names = [f"x{i}" for i in range(n)]
    for count, (low, high, needs_low, needs_high) in enumerate(network(n, first, stop)):
        a, b = names[low], names[high]
        if needs_low:
            names[low] = f"a{count}"
            lines.append(f"  vec a{count} = lesser({a}, {b});")
        if needs_high:
            names[high] = f"b{count}"
            lines.append(f"  vec b{count} = larger({a}, {b});")
    lines.append(f"  vec total = {names[first]};")
    lines += [f"  total = add(total, {names[rank]});" for rank in range(first + 1, stop)]
    lines.append(f"  store(out, add(over(total, T({stop - first})), zero()));")
    single = dtype == torch.float32
    words = {
        "@T@": NAMES[dtype],
        "@SUFFIX@": "ps" if single else "pd",
        "@VEC512@": "__m512" if single else "__m512d",
        "@VEC256@": "__m256" if single else "__m256d",
        "@N@": str(n),
        "@BODY@": "\n".join(lines),
    }
    source = _RANKS
    for word, value in words.items():
        source = source.replace(word, value)
    return source


def mean_of_ranks(rows: list[Tensor], first: int, stop: int, out: Tensor) -> bool:
    """Write the mean of the ranks ``first`` .. ``stop - 1`` to ``out``; False if not possible."""
    if len(rows) > MOST_WIRES or not native.usable([*rows, out]):
        return False
    source = ranks_source(len(rows), first, stop, out.dtype)
    library = native.library(
        source, native.SAME_BITS, build=len(rows) * out.numel() >= WORTH_BUILDING
    )
    if library is None:
        return False
    library.mean_of_ranks(
        native.pointers(rows), ctypes.c_long(out.numel()), ctypes.c_void_p(out.data_ptr())
    )
    return True


def variances(rows: list[Tensor], out: Tensor) -> bool:
    """Write the population variance of each column to ``out``; False if not possible."""
    if not native.usable([*rows, out]):
        return False
    library = native.library(_VARIANCES.replace("@T@", NAMES[out.dtype]), native.SAME_BITS)
    if library is None:
        return False
    spare = out.new_empty(len(rows), 64)  # the largest block
    library.variances(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_long(out.numel()),
        ctypes.c_void_p(out.data_ptr()),
        ctypes.c_void_p(spare.data_ptr()),
        native.pointers(rows),
    )
    return True


def products(rows: list[Tensor], centre: Tensor, left: Tensor | None = None) -> Tensor | None:
    """Float64 inner products of rows minus ``centre`` with ``left`` or with each other.

    Returns:
        ``(k, m)``, or the symmetric ``(m, m)``, or ``None`` if not possible.
    """
    others = rows if left is None else list(left.unbind(0))
    library = _product_library([*rows, *others], centre)
    if library is None:
        return None
    out = torch.zeros(len(others), len(rows), dtype=torch.float64)
    failed = library.products(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        None if left is None else native.pointers(others),
        ctypes.c_long(len(others)),
        ctypes.c_void_p(centre.data_ptr()),
        ctypes.c_long(centre.numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    if failed:
        return None
    return out if left is not None else out.triu() + out.triu(1).T


def offsets(rows: list[Tensor], point: Tensor, along: Tensor | None = None) -> Tensor | None:
    """``(m,)`` float64 ``<g_i - point, along>``, or squared distances to the point; or ``None``."""
    library = _product_library([*rows, point if along is None else along], point)
    if library is None:
        return None
    out = torch.zeros(len(rows), dtype=torch.float64)
    library.offsets(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_void_p(point.data_ptr()),
        None if along is None else ctypes.c_void_p(along.data_ptr()),
        ctypes.c_long(point.numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def decide_bits(dtype: torch.dtype) -> bool:
    """True if inner products of ``dtype`` are compiled; only these kernels round differently
    from torch.
    """
    source = _PRODUCTS.replace("@T@", NAMES[dtype])
    return native.library(source, native.FUSED) is not None


def _product_library(rows: list[Tensor], point: Tensor) -> ctypes.CDLL | None:
    if not native.usable([*rows, point]):
        return None
    return native.library(_PRODUCTS.replace("@T@", NAMES[point.dtype]), native.FUSED)
