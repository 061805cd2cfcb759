// The variance and the weighted sum of signs of every column. Defined before: NUMBER.
#include <cstring>
typedef NUMBER T;
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
