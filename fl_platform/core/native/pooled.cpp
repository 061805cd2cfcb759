// The gradient of a convolution whose output only a max pooling reads. Few of its outputs have a
// gradient other than 0: a list of them is made, and nothing is computed for the others.
// Defined before: HEIGHT, WIDTH of the kernel, CHANNELS of its input. All maps are (rows, columns,
// channels) in memory, weights (outputs, HEIGHT, WIDTH, CHANNELS).
#include <cstring>
#include <vector>
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
enum { SPAN = WIDTH * CHANNELS, FULL = SPAN / LANES, REST = SPAN % LANES };

// images (n, rows, columns, CHANNELS), gradient and chosen (n, pooled, outputs): the gradient
// behind the pooling and where in the map of (mapped, across) it was chosen. at_once pooled places
// are treated together, whose images fit into the first cache. to_images, to_weights and to_bias
// are added to.
extern "C" void pooled(const float* images, const float* weights, const float* gradient,
                       const long long* chosen, long n, long rows, long columns, long outputs,
                       long pooled, long mapped, long across, long at_once, float* to_images,
                       float* to_weights, float* to_bias) {
  std::vector<long> where(mapped * across), place(outputs * at_once), found(outputs);
  std::vector<float> value(outputs * at_once);
  for (long at = 0; at < mapped * across; at++)
    where[at] = (at / across * columns + at % across) * CHANNELS;
  for (long i = 0; i < n; i++)
    for (long first = 0; first < pooled; first += at_once) {
      const float* image = images + i * rows * columns * CHANNELS;
      float* to_image = to_images + i * rows * columns * CHANNELS;
      const long stop = first + at_once < pooled ? first + at_once : pooled;
      found.assign(outputs, 0);
      for (long p = i * pooled + first; p < i * pooled + stop; p++)
        for (long o = 0; o < outputs; o++) {
          const long next = o * at_once + found[o];
          value[next] = gradient[p * outputs + o];
          place[next] = where[chosen[p * outputs + o]];
          found[o] += value[next] != 0;
        }
      for (long o = 0; o < outputs; o++) {
        const float* values = &value[o * at_once];
        const long* places = &place[o * at_once];
        float total = 0;
        for (long k = 0; k < found[o]; k++) total += values[k];
        to_bias[o] += total;
        for (long row = 0; row < HEIGHT && found[o]; row++) {
          const float* weight = weights + (o * HEIGHT + row) * SPAN;
          float* to_weight = to_weights + (o * HEIGHT + row) * SPAN;
          vec sum[FULL + 1] = {}, held[FULL + 1] = {};
          float last[REST + 1] = {};
          for (long j = 0; j < FULL; j++) std::memcpy(&held[j], weight + j * LANES, sizeof(vec));
          for (long k = 0; k < found[o]; k++) {
            const long at = places[k] + row * columns * CHANNELS;
            const vec* read = (const vec*)(image + at);
            vec* write = (vec*)(to_image + at);
            for (long j = 0; j < FULL; j++) sum[j] += values[k] * read[j];
            for (long j = 0; j < FULL; j++) write[j] += values[k] * held[j];
            for (long j = 0; j < REST; j++) {
              last[j] += values[k] * image[at + FULL * LANES + j];
              to_image[at + FULL * LANES + j] += values[k] * weight[FULL * LANES + j];
            }
          }
          for (long j = 0; j < FULL; j++) *(vec*)(to_weight + j * LANES) += sum[j];
          for (long j = 0; j < REST; j++) to_weight[FULL * LANES + j] += last[j];
        }
      }
    }
}
