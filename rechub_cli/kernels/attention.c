/* Target attention over jagged histories: what its first layer makes of every value and its row's target, and the weighted sum.
 *
 * The layer sees a value v and the product t * v with the target t of its row: v W + (t * v) P = v (W + t P), one small matrix
 * for each row, which stays in the cache while the row's values are multiplied by it.
 *
 * Shape legend: n rows of the batch, N values of `width` elements, `units` outputs.
 */
#include "share.h"

#define LARGEST 8192 /* floats of a row's matrix, as in attention.py */
#define LONGEST 256  /* elements of a value, or outputs */
#define STEP 64      /* values whose gradients are copied at once */
#define BATCH 32     /* rows of a block */

typedef struct {
    const int64_t *offsets; /* (n + 1,) */
    int64_t n, width, units, stride, turned_stride; /* strides: units, and width, filled up to whole vectors */
    const float *values, *target, *by_row; /* (N, width), (n, width), (n, units) */
    const float *weight, *turned;          /* (2, width, stride): W and P; (2, units, turned_stride), the same transposed */
    void *out;                             /* (N, units) */
    int half;                              /* `out` and its gradient are bf16 */
    const void *gradient;                  /* of `out` */
    float *value_gradient, *target_gradient, *row_gradient, *part; /* part: by block (2, width, stride) */
} attention_t;

#define LOOPS "attention.h"
#include "kinds.h"

/* The weight (2, width, units) with rows filled up by zeros. */
static void fill(const float *weight, int64_t rows, int64_t units, int64_t stride, float *filled) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t h = 0; h < stride; h++) filled[row * stride + h] = h < units ? weight[row * units + h] : 0;
}

/* Floats of `near` for the forward pass and for the backward pass. */
int64_t attention_near(int backward, int64_t n, int64_t width, int64_t units) {
    const int64_t straight = 2 * width * whole(units), blocks = (n + BATCH - 1) / BATCH;
    return backward ? straight + 2 * units * whole(width) + blocks * straight : straight;
}

/* out = by_row of each value's row + v W + (t * v) P. Returns 1 where the offsets are none. */
int attention_forward(const int64_t *offsets, int64_t n, int64_t count, int64_t width, int64_t units, const float *values,
                      const float *target, const float *by_row, const float *weight, int half, float *near, void *out, int threads) {
    if (!in_order(offsets, n, count)) return 1;
    fill(weight, 2 * width, units, whole(units), near);
    attention_t t = {.offsets = offsets, .n = n, .width = width, .units = units, .stride = whole(units), .values = values,
                     .target = target, .by_row = by_row, .weight = near, .out = out, .half = half};
    share(BEST(attention_forward), &t, n, BATCH, threads);
    return 0;
}

/* The gradients of values, target, by_row and weight. The blocks' parts are added in their order, whichever thread made them. */
void attention_gradients(const int64_t *offsets, int64_t n, int64_t width, int64_t units, const float *values, const float *target,
                         const float *weight, const void *gradient, int half, float *near, float *value_gradient,
                         float *target_gradient, float *row_gradient, float *weight_gradient, int threads) {
    const int64_t stride = whole(units), turned_stride = whole(width), straight = 2 * width * stride;
    float *turned = near + straight, *part = turned + 2 * units * turned_stride;
    fill(weight, 2 * width, units, stride, near);
    memset(turned, 0, sizeof(float) * (size_t)(2 * units * turned_stride));
    for (int64_t which = 0; which < 2; which++)
        for (int64_t e = 0; e < width; e++)
            for (int64_t h = 0; h < units; h++)
                turned[(which * units + h) * turned_stride + e] = weight[(which * width + e) * units + h];
    attention_t t = {.offsets = offsets, .n = n, .width = width, .units = units, .stride = stride, .turned_stride = turned_stride,
                     .values = values, .target = target, .weight = near, .turned = turned, .half = half, .gradient = gradient,
                     .value_gradient = value_gradient, .target_gradient = target_gradient, .row_gradient = row_gradient, .part = part};
    const int64_t blocks = (n + BATCH - 1) / BATCH;
    share(BEST(attention_backward), &t, blocks, 1, threads);
    memset(weight_gradient, 0, sizeof(float) * (size_t)(2 * width * units));
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t row = 0; row < 2 * width; row++)
            for (int64_t h = 0; h < units; h++)
                weight_gradient[row * units + h] += part[block * straight + row * stride + h];
}

/* ---- the weighted sum of each row's values ---- */

typedef struct {
    const int64_t *offsets;
    int64_t width;
    const float *values, *weights, *gradient; /* (N, width), (N,), (n, width) */
    float *out, *value_gradient, *weight_gradient;
} pool_t;

VECTORS static void pool_work(const void *task, int64_t begin, int64_t end) {
    const pool_t *t = task;
    const int64_t width = t->width;
    for (int64_t b = begin; b < end; b++) {
        float *restrict out = t->out + b * width;
        memset(out, 0, sizeof(float) * (size_t)width);
        for (int64_t i = t->offsets[b]; i < t->offsets[b + 1]; i++) {
            const float weight = t->weights[i], *restrict value = t->values + i * width;
            for (int64_t e = 0; e < width; e++) out[e] += weight * value[e];
        }
    }
}

VECTORS static void pool_back(const void *task, int64_t begin, int64_t end) {
    const pool_t *t = task;
    const int64_t width = t->width;
    for (int64_t b = begin; b < end; b++) {
        const float *restrict gradient = t->gradient + b * width;
        for (int64_t i = t->offsets[b]; i < t->offsets[b + 1]; i++) {
            const float weight = t->weights[i], *restrict value = t->values + i * width;
            float *restrict of_value = t->value_gradient + i * width, of_weight = 0;
            for (int64_t e = 0; e < width; e++) {
                of_value[e] = weight * gradient[e];
                of_weight += value[e] * gradient[e];
            }
            t->weight_gradient[i] = of_weight;
        }
    }
}

/* Returns 1 where the offsets are none. */
int weighted_sums(const int64_t *offsets, int64_t n, int64_t count, int64_t width, const float *values, const float *weights,
                 float *out, int threads) {
    if (!in_order(offsets, n, count)) return 1;
    pool_t t = {offsets, width, values, weights, NULL, out, NULL, NULL};
    share(pool_work, &t, n, BATCH, threads);
    return 0;
}

void weighted_gradients(const int64_t *offsets, int64_t n, int64_t width, const float *values, const float *weights,
                       const float *gradient, float *value_gradient, float *weight_gradient, int threads) {
    pool_t t = {offsets, width, values, weights, gradient, NULL, value_gradient, weight_gradient};
    share(pool_back, &t, n, BATCH, threads);
}
