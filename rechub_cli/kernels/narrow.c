/* A linear layer of few outputs, such as logits: its input goes through memory once each way, and may be bf16.
 *
 * Shape legend: n rows, of `width` inputs and `outputs`.
 */
#include "share.h"

#define FEW 4 /* outputs */

typedef struct {
    const void *x; /* (n, width) */
    int half;
    int64_t n, width, outputs, rows; /* rows: of a block */
    const float *weight, *bias;      /* (outputs, width); (outputs,), or NULL */
    float *out;                      /* (n, outputs) */
    const float *gradient;           /* of `out` */
    void *x_gradient;                /* (n, width), or NULL */
    float *part;                     /* by block: (outputs, width), what it adds to the gradient of the weight */
} narrow_t;

#define LOOPS "narrow.h"
#include "kinds.h"

/* out = x @ weight^T + bias, of x in bf16 where `half`. */
void narrow_linear(const void *x, int half, int64_t n, int64_t width, const float *weight, const float *bias, int64_t outputs,
                   float *out, int threads) {
    narrow_t task = {x, half, n, width, outputs, 0, weight, bias, out, NULL, NULL, NULL};
    share(BEST(narrow_forward), &task, n, ROWS, threads);
}

/* The gradients of x, like x, and of the weight. `part`: (blocks of `rows`, outputs, width), of which at most FEW outputs.
 * The blocks' parts are added in their order, whichever thread made them. */
void narrow_gradients(const void *x, int half, int64_t n, int64_t width, const float *weight, int64_t outputs,
                      const float *gradient, void *x_gradient, int64_t rows, float *part, float *weight_gradient, int threads) {
    narrow_t task = {x, half, n, width, outputs, rows, weight, NULL, NULL, gradient, x_gradient, part};
    const int64_t blocks = (n + rows - 1) / rows, size = outputs * width;
    share(BEST(narrow_backward), &task, blocks, 1, threads);
    memset(weight_gradient, 0, (size_t)size * sizeof *weight_gradient);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t i = 0; i < size; i++) weight_gradient[i] += part[block * size + i];
}
