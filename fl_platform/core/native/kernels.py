"""The C++ behind the hot passes, and the calls into it; ``None`` says: use torch.

Kernels: of every column the mean of consecutive ranks and the mean of the values nearest to a
middle (generated sorting networks), the variance and the weighted sum of signs; inner products of
centred rows. All take row pointers, so chosen,
repeated and added rows cost no copy.
"""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from fl_platform.core.native import compiler as native
from fl_platform.core.sorting_network import network

MOST_WIRES = 128  # a network of more would take the compiler minutes; sorting takes over
WORTH_BUILDING = 1 << 20  # entries; below, a build costs more than it saves
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
static inline vec less(vec a, vec b) { return V(sub)(a, b); }
#if defined(__AVX512F__)
typedef @MASK@ mask;
static inline mask above(vec a, vec b) { return _mm512_cmp_@SUFFIX@_mask(a, b, _CMP_GT_OQ); }
static inline vec either(mask m, vec a, vec b) { return V(mask_blend)(m, b, a); }
#else
typedef vec mask;
static inline mask above(vec a, vec b) { return _mm256_cmp_@SUFFIX@(a, b, _CMP_GT_OQ); }
static inline vec either(mask m, vec a, vec b) { return V(blendv)(b, a, m); }
#endif
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
static inline vec less(vec a, vec b) { return a - b; }
typedef bool mask;
static inline mask above(vec a, vec b) { return a > b; }
static inline vec either(mask m, vec a, vec b) { return m ? a : b; }
#endif
static const long N = @N@, W = BYTES / sizeof(T);

static inline __attribute__((always_inline)) void step(const T* const* rows, long k, T* out) {
@BODY@
}

extern "C" void of_columns(const T* const* rows, long d, T* out) {
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

_SIGNS = r"""
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

// out[k] = sum_i weights[i] * sign(rows[i][k]), the rows added in order
extern "C" void sign_sums(const T* const* rows, long m, const T* weights, long d, T* out) {
  long at = 0;
  for (; at + BLOCK <= d; at += BLOCK) {
    vec sum[U] = {};
    for (long i = 0; i < m; i++) {
      const vec zero = {}, plus = zero + weights[i], minus = -plus;
#pragma GCC unroll 4
      for (int u = 0; u < U; u++) {
        vec x;
        std::memcpy(&x, rows[i] + at + u * W, BYTES);
        sum[u] += x > zero ? plus : x < zero ? minus : zero;
      }
    }
    std::memcpy(out + at, sum, sizeof sum);
  }
  for (; at < d; at++) {
    T sum = 0;
    for (long i = 0; i < m; i++)
      sum += rows[i][at] > 0 ? weights[i] : rows[i][at] < 0 ? -weights[i] : T(0);
    out[at] = sum;
  }
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

enum { AHEAD = 1024 };  // bytes; a processor fetches no further than the page by itself

template <bool POINT>
static void offsets_from(const T* const* rows, long m, const T* point, const T* along, long d,
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
          __builtin_prefetch((const char*)(rows[i] + k + u * W) + AHEAD);
          std::memcpy(&x, rows[i] + k + u * W, BYTES);
          if (POINT) {
            std::memcpy(&y, point + k + u * W, BYTES);
            x -= y;
          }
          if (along) std::memcpy(&z, along + k + u * W, BYTES);
          else z = x;
          s[u] += x * z;
        }
      double total = 0;
      for (; k < end; k++) {
        const T apart = POINT ? rows[i][k] - point[k] : rows[i][k];
        total += (double)apart * (double)(along ? along[k] : apart);
      }
      s[0] = (s[0] + s[1]) + (s[2] + s[3]);
      for (int l = 0; l < W; l++) total += (double)s[0][l];
      out[i] += total;
    }
  }
}

// out[i] = sum_k (rows[i][k] - point[k]) * along[k], or its square without `along`; without `point`
// it is zero
extern "C" void offsets(const T* const* rows, long m, const T* point, const T* along, long d,
                        double* out) {
  if (point) offsets_from<true>(rows, m, point, along, d, out);
  else offsets_from<false>(rows, m, point, along, d, out);
}

// inner[i] = sum_k rows[i][k] * along[k] and squares[i] = sum_k rows[i][k]^2 in one pass
extern "C" void aligned(const T* const* rows, long m, const T* along, long d, double* inner,
                        double* squares) {
  enum { SPAN = 4096, U = 4 };
  for (long at = 0; at < d; at += SPAN) {
    const long end = d - at < SPAN ? d : at + SPAN;
    for (long i = 0; i < m; i++) {
      vec p[U] = {}, q[U] = {};
      long k = at;
      for (; k + U * W <= end; k += U * W)
#pragma GCC unroll 4
        for (int u = 0; u < U; u++) {
          vec x, z;
          __builtin_prefetch((const char*)(rows[i] + k + u * W) + AHEAD);
          std::memcpy(&x, rows[i] + k + u * W, BYTES);
          std::memcpy(&z, along + k + u * W, BYTES);
          p[u] += x * z;
          q[u] += x * x;
        }
      double one = 0, two = 0;
      for (; k < end; k++) {
        one += (double)rows[i][k] * (double)along[k];
        two += (double)rows[i][k] * (double)rows[i][k];
      }
      for (int u = 0; u < U; u++)
        for (int l = 0; l < W; l++) one += (double)p[u][l], two += (double)q[u][l];
      inner[i] += one;
      squares[i] += two;
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
    """The C++ that averages the ranks ``first`` .. ``stop - 1`` of n values, column by column."""
    lines, names = _sorted_lines(n, first, stop)
    lines.append(f"  vec total = {names[first]};")
    lines += [f"  total = add(total, {names[rank]});" for rank in range(first + 1, stop)]
    lines.append(f"  store(out, add(over(total, T({stop - first})), zero()));")
    return _columns_source(n, lines, dtype)


@functools.lru_cache(maxsize=64)
def nearest_source(n: int, count: int, middle: str, dtype: torch.dtype) -> str:
    """The C++ that averages the ``count`` of n values nearest to a middle, column by column.

    Of ascending values v the k-th lowest is left out where v[count + k] is nearer; where that
    holds for a k it holds for every lower one.
    """
    drop = n - count
    lines, v = _sorted_lines(n, 0, n)
    low, high = v[(n - 1) // 2], v[n // 2]
    if middle == "trimmed":  # the sum of v[drop] .. v[count - 1] and its rounding errors
        lines.append(f"  vec sum = {v[drop]}, lost = zero();")
        for rank in range(drop + 1, count):
            lines.append(f"  vec t{rank} = add(sum, {v[rank]}), u{rank} = less(t{rank}, sum);")
            errors = f"add(less(sum, less(t{rank}, u{rank})), less({v[rank]}, u{rank}))"
            lines.append(f"  lost = add(lost, {errors});")
            lines.append(f"  sum = t{rank};")
        lines.append(f"  vec middle = over(add(sum, lost), T({count - drop}));")
    else:
        half = f"add({low}, over(less({high}, {low}), T(2)))"
        medians = {"lower": low, "upper": high, "midpoint": half}
        lines.append(f"  vec middle = {medians[middle]};")
    for k in range(drop):
        far = f"above(less(middle, {v[k]}), less({v[count + k]}, middle))"
        lines.append(f"  mask m{k} = {far};")
    lines.append("  vec total = zero();")
    for rank in range(n):
        value = v[rank]
        if rank < drop:
            value = f"either(m{rank}, zero(), {value})"
        if rank >= count:
            value = f"either(m{rank - count}, {value}, zero())"
        lines.append(f"  total = add(total, {value});")
    lines.append(f"  store(out, add(over(total, T({count})), zero()));")
    return _columns_source(n, lines, dtype)


def _sorted_lines(n: int, first: int, stop: int) -> tuple[list[str], list[str]]:
    """Lines that load n values and bring ranks in their places, and the variable of each rank."""
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
    return lines, names


def _columns_source(n: int, lines: list[str], dtype: torch.dtype) -> str:
    single = dtype == torch.float32
    words = {
        "@T@": NAMES[dtype],
        "@SUFFIX@": "ps" if single else "pd",
        "@VEC512@": "__m512" if single else "__m512d",
        "@VEC256@": "__m256" if single else "__m256d",
        "@MASK@": "__mmask16" if single else "__mmask8",
        "@N@": str(n),
        "@BODY@": "\n".join(lines),
    }
    source = _RANKS
    for word, value in words.items():
        source = source.replace(word, value)
    return source


def mean_of_ranks(rows: list[Tensor], first: int, stop: int, out: Tensor, entries: int = 0) -> bool:
    """Writes the mean of the ranks ``first`` .. ``stop - 1`` to ``out``; False where it cannot.

    Args:
        entries: of all calls for chunks of one matrix, which decide whether a build pays.
    """
    if len(rows) > MOST_WIRES or not native.usable([*rows, out]):
        return False
    return _of_columns(ranks_source(len(rows), first, stop, out.dtype), rows, out, entries)


def mean_nearest(rows: list[Tensor], count: int, middle: str, out: Tensor) -> bool:
    """Writes the mean of each column's ``count`` values nearest to its middle; or False.

    Args:
        middle: ``lower``, ``upper`` or ``midpoint`` median, or the ``trimmed`` mean.
    """
    if len(rows) > MOST_WIRES or not native.usable([*rows, out]):
        return False
    return _of_columns(nearest_source(len(rows), count, middle, out.dtype), rows, out)


def _of_columns(source: str, rows: list[Tensor], out: Tensor, entries: int = 0) -> bool:
    entries = max(entries, len(rows) * out.numel())
    library = native.library(source, native.SAME_BITS, build=entries >= WORTH_BUILDING)
    if library is None:
        return False
    library.of_columns(
        native.pointers(rows), ctypes.c_long(out.numel()), ctypes.c_void_p(out.data_ptr())
    )
    return True


def variances(rows: list[Tensor], out: Tensor) -> bool:
    """Writes the population variance of each column to ``out``; False where it cannot."""
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


def sign_sums(rows: list[Tensor], weights: Tensor, out: Tensor) -> bool:
    """Writes each column's sum of ``weights`` times signs to ``out``; False where it cannot."""
    if not native.usable([*rows, weights, out]):
        return False
    library = native.library(_SIGNS.replace("@T@", NAMES[out.dtype]), native.SAME_BITS)
    if library is None:
        return False
    library.sign_sums(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_void_p(weights.data_ptr()),
        ctypes.c_long(out.numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    return True


def products(rows: list[Tensor], centre: Tensor, left: Tensor | None = None) -> Tensor | None:
    """Float64 inner products of rows less ``centre`` with ``left`` or with each other.

    Returns:
        ``(k, m)``, or the symmetric ``(m, m)``, or ``None`` where it cannot be done.
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


def offsets(rows: list[Tensor], point: Tensor | None, along: Tensor | None = None) -> Tensor | None:
    """``(m,)`` float64 ``<g_i - point, along>``, or squared distances to the point; or ``None``.

    Without a point it is the origin.
    """
    given = [*rows, *(vector for vector in (point, along) if vector is not None)]
    library = _product_library(given, rows[0])
    if library is None:
        return None
    out = torch.zeros(len(rows), dtype=torch.float64)
    library.offsets(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        None if point is None else ctypes.c_void_p(point.data_ptr()),
        None if along is None else ctypes.c_void_p(along.data_ptr()),
        ctypes.c_long(rows[0].numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def aligned(rows: list[Tensor], along: Tensor) -> tuple[Tensor, Tensor] | None:
    """``(m,)`` float64 ``<g_i, along>`` and ``||g_i||^2`` in one pass; or ``None``."""
    library = _product_library(rows, along)
    if library is None:
        return None
    inner, squares = torch.zeros(2, len(rows), dtype=torch.float64)
    library.aligned(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_void_p(along.data_ptr()),
        ctypes.c_long(along.numel()),
        ctypes.c_void_p(inner.data_ptr()),
        ctypes.c_void_p(squares.data_ptr()),
    )
    return inner, squares


def decide_bits(dtype: torch.dtype) -> bool:
    """Whether inner products of ``dtype`` are compiled here; of all kernels, theirs alone round
    otherwise than torch.
    """
    source = _PRODUCTS.replace("@T@", NAMES[dtype])
    return native.library(source, native.FUSED) is not None


def _product_library(rows: list[Tensor], point: Tensor) -> ctypes.CDLL | None:
    if not native.usable([*rows, point]):
        return None
    return native.library(_PRODUCTS.replace("@T@", NAMES[point.dtype]), native.FUSED)
