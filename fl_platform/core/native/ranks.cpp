// A function of the sorted values of every column, by a sorting network.
// Defined before: NUMBER, SUFFIX (ps or pd), VECTOR_512, VECTOR_256, MASK, ROWS, and BODY.
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif
typedef NUMBER T;
#define JOINED(width, op, suffix) width##op##_##suffix
#define NAMED(width, op, suffix) JOINED(width, op, suffix)
#if defined(__AVX512F__)
#define BYTES 64
#define V(op) NAMED(_mm512_, op, SUFFIX)
typedef VECTOR_512 vec;
#elif defined(__AVX__)
#define BYTES 32
#define V(op) NAMED(_mm256_, op, SUFFIX)
typedef VECTOR_256 vec;
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
typedef MASK mask;
#define COMPARE_(suffix) _mm512_cmp_##suffix##_mask
#define COMPARE(suffix) COMPARE_(suffix)
static inline mask above(vec a, vec b) { return COMPARE(SUFFIX)(a, b, _CMP_GT_OQ); }
static inline vec either(mask m, vec a, vec b) { return V(mask_blend)(m, b, a); }
#else
typedef vec mask;
static inline mask above(vec a, vec b) { return V(cmp)(a, b, _CMP_GT_OQ); }
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
static const long N = ROWS, W = BYTES / sizeof(T);

static inline __attribute__((always_inline)) void step(const T* const* rows, long k, T* out) {
  BODY
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
