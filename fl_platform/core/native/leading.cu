// The leading eigenvector of a small matrix. Defined before: MOST, SQUARINGS.
// The leading eigenvector of a symmetric (m, m) matrix without negative eigenvalues but for
// rounding: the matrix is squared so often that every smaller eigenvalue has vanished beside it;
// each column is then a multiple of the vector. out[0] = eigenvalue, out[1 ..] = vector.
extern "C" __global__ void leading(const double* __restrict__ matrix, long long size,
                                   double* __restrict__ out) {
  __shared__ double pages[2][MOST * MOST];
  __shared__ double vector[MOST], image[MOST];
  __shared__ double scale;
  const int m = (int)size, cells = m * m, step = blockDim.x, me = threadIdx.x;
  double *now = pages[0], *next = pages[1];
  for (int c = me; c < cells; c += step) now[c] = matrix[c];
  __syncthreads();
  for (int round = 0; round <= SQUARINGS; round++) {
    if (me == 0) {
      scale = 0;
      for (int i = 0; i < m; i++) scale += now[i * m + i];
    }
    __syncthreads();
    const double by = scale > 0 ? 1 / scale : 1.0;
    for (int c = me; c < cells; c += step) now[c] *= by;
    __syncthreads();
    if (round == SQUARINGS) break;
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
