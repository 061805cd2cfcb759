// The weighted sum of rows. Defined before: NUMBER, THREADS.
typedef NUMBER T;
// out[k] = sum of weights[i] * rows[i][k] over the rows with a weight; the others are not read.
extern "C" __global__ void __launch_bounds__(THREADS)
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
