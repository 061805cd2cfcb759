// Inner products of rows less a centre, and distances to a point. Defined before: NUMBER.
#include <cstdlib>
#include <cstring>
typedef NUMBER T;
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
