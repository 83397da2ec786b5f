/* Loops of target attention, for one kind of processor (see kinds.h). */

#include "products.h"

/* The row's matrix, of `stride` floats a row: of_value + target * of_product, both (rows, stride). */
INLINE void FOR(of_row)(const float *weight, const float *target, int64_t rows, int64_t stride, float *matrix) {
    for (int64_t e = 0; e < rows; e++)
        for (int64_t h = 0; h < stride; h += LANES)
            *(FOR(vector_t) *)(matrix + e * stride + h) = *(const FOR(vector_t) *)(weight + e * stride + h) +
                                                          target[e] * *(const FOR(vector_t) *)(weight + (rows + e) * stride + h);
}

static void FOR(attention_forward)(const void *task, int64_t begin, int64_t end) {
    const attention_t *t = task;
    float matrix[LARGEST], base[LONGEST];
    for (int64_t b = begin; b < end; b++) {
        const int64_t from = t->offsets[b], stop = t->offsets[b + 1];
        if (from == stop) continue;
        FOR(of_row)(t->weight, t->target + b * t->width, t->width, t->stride, matrix);
        memcpy(base, t->by_row + b * t->units, sizeof(float) * (size_t)t->units);
        memset(base + t->units, 0, sizeof(float) * (size_t)(t->stride - t->units));
        FOR(multiply)((product_t){
            .n = stop - from, .elements = t->width, .units = t->units, .values = t->values + from * t->width, .matrix = matrix,
            .base = base, .out = (char *)t->out + from * t->units * (t->half ? 2 : 4), .apart = t->width, .stride = t->stride,
            .pitch = t->units, .half = t->half});
    }
}

/* Blocks of rows of the batch: the gradients of their values, targets and sums, and what they add to that of the weight. */
static void FOR(attention_backward)(const void *task, int64_t begin, int64_t end) {
    const attention_t *t = task;
    const int64_t width = t->width, stride = t->stride, units = t->units;
    float matrix[LARGEST], sum[LARGEST], near[STEP * LONGEST], total[LONGEST], target[LONGEST];
    for (int64_t block = begin; block < end; block++) {
        float *part = t->part + block * 2 * width * stride;
        memset(part, 0, sizeof(float) * (size_t)(2 * width * stride));
        const int64_t last = (block + 1) * BATCH < t->n ? (block + 1) * BATCH : t->n;
        for (int64_t b = block * BATCH; b < last; b++) {
            const int64_t from = t->offsets[b], stop = t->offsets[b + 1];
            memset(sum, 0, sizeof(float) * (size_t)(width * stride));
            memset(total, 0, sizeof total);
            memcpy(target, t->target + b * width, sizeof(float) * (size_t)width);
            memset(target + width, 0, sizeof(float) * (size_t)(t->turned_stride - width));
            if (from < stop) /* (units, width), the row's matrix transposed */
                for (int64_t h = 0; h < units; h++)
                    for (int64_t e = 0; e < t->turned_stride; e += LANES) {
                        const int64_t at = h * t->turned_stride + e;
                        *(FOR(vector_t) *)(matrix + at) =
                            *(const FOR(vector_t) *)(t->turned + at) +
                            *(const FOR(vector_t) *)(target + e) * *(const FOR(vector_t) *)(t->turned + units * t->turned_stride + at);
                    }
            for (int64_t at = from; at < stop; at += STEP) {
                const int64_t n = stop - at < STEP ? stop - at : STEP;
                for (int64_t i = 0; i < n; i++)
                    for (int64_t h = 0; h < stride; h += LANES) {
                        const int64_t left = units - h < 0 ? 0 : units - h;
                        FOR(vector_t) gradient;
                        if (left >= LANES) gradient = FOR(load)(t->gradient, (at + i) * units + h, LANES, t->half);
                        else gradient = FOR(load)(t->gradient, (at + i) * units + h, left, t->half);
                        *(FOR(vector_t) *)(near + i * stride + h) = gradient;
                        *(FOR(vector_t) *)(total + h) += gradient;
                    }
                FOR(multiply)((product_t){.n = n, .elements = units, .units = width, .values = near, .matrix = matrix,
                                          .out = t->value_gradient + at * width, .apart = stride, .stride = t->turned_stride,
                                          .pitch = width});
                FOR(add_outer)((outer_t){.n = n, .width = width, .units = units, .values = t->values + at * width,
                                         .gradient = near, .sum = sum, .apart = width, .stride = stride});
            }
            memcpy(t->row_gradient + b * units, total, sizeof(float) * (size_t)units);
            for (int64_t e = 0; e < width; e++) {
                FOR(vector_t) of_target = {0};
                for (int64_t h = 0; h < stride; h += LANES) {
                    const FOR(vector_t) one = *(const FOR(vector_t) *)(sum + e * stride + h);
                    *(FOR(vector_t) *)(part + e * stride + h) += one;
                    *(FOR(vector_t) *)(part + (width + e) * stride + h) += target[e] * one;
                    of_target += one * *(const FOR(vector_t) *)(t->weight + (width + e) * stride + h);
                }
                float whole = 0;
                for (int i = 0; i < LANES; i++) whole += of_target[i];
                t->target_gradient[b * width + e] = whole;
            }
        }
    }
}
