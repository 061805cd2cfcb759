// One thread works on one column. Defined before: NUMBER, THREADS, and BODY, its arithmetic.
typedef NUMBER T;
extern "C" __global__ void __launch_bounds__(THREADS)
columns(const T* const* __restrict__ rows, long long d, T* __restrict__ out) {
  const long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (k >= d) return;
  BODY
}
