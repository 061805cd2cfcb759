// Inner products with a vector, and distances to a point. Defined before: NUMBER, SPAN.
typedef NUMBER T;
#ifndef LANES
#define LANES 32
#endif
enum { WIDTH = LANES * 8, U = SPAN / WIDTH };
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
