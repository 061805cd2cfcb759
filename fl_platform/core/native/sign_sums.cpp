// The weighted sum of signs of every column. Defined before: NUMBER.
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
