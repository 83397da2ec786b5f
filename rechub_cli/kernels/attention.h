/* Loops of target attention, for one kind of processor (see kinds.h). */

#include "vectors.h"

#define WIDE 6 /* vectors of units that two values are multiplied into at once: they stay in registers */

/* The row's matrix, of `stride` floats a row: of_value + target * of_product, both (rows, stride). */
INLINE void FOR(of_row)(const float *weight, const float *target, int64_t rows, int64_t stride, float *matrix) {
    for (int64_t e = 0; e < rows; e++)
        for (int64_t h = 0; h < stride; h += LANES)
            *(FOR(vector_t) *)(matrix + e * stride + h) = *(const FOR(vector_t) *)(weight + e * stride + h) +
                                                          target[e] * *(const FOR(vector_t) *)(weight + (rows + e) * stride + h);
}

/* From unit h on: the sums of one or two values' elements, each times its row of the matrix. */
INLINE void FOR(products)(const float *values, int64_t elements, int64_t apart, int two, const float *matrix, int64_t stride,
                          int vectors, FOR(vector_t) sum[2][WIDE]) {
    for (int64_t e = 0; e < elements; e++) {
        const float one = values[e], other = two ? values[apart + e] : 0;
        for (int v = 0; v < vectors; v++) {
            const FOR(vector_t) row = *(const FOR(vector_t) *)(matrix + e * stride + v * LANES);
            sum[0][v] += one * row;
            if (two) sum[1][v] += other * row;
        }
    }
}

/* `products` of values from..stop, (, elements) with `apart` floats from one to the next, plus `base`, into (, units) of `out`. */
INLINE void FOR(multiply)(const float *values, int64_t from, int64_t stop, int64_t elements, int64_t apart, const float *base,
                          const float *matrix, int64_t stride, int64_t units, int vectors, int64_t h, void *out, int half) {
    for (int64_t i = from; i < stop; i += 2) {
        const int two = i + 1 < stop;
        FOR(vector_t) sum[2][WIDE];
        for (int v = 0; v < vectors; v++) sum[0][v] = sum[1][v] = *(const FOR(vector_t) *)(base + h + v * LANES);
        if (two) FOR(products)(values + (i - from) * apart, elements, apart, 1, matrix + h, stride, vectors, sum);
        else FOR(products)(values + (i - from) * apart, elements, apart, 0, matrix + h, stride, vectors, sum);
        for (int which = 0; which <= two; which++)
            for (int v = 0; v < vectors; v++) {
                const int64_t at = h + v * LANES, left = units - at;
                if (left >= LANES) FOR(store)(sum[which][v], out, (i + which) * units + at, LANES, half);
                else FOR(store)(sum[which][v], out, (i + which) * units + at, left, half);
            }
    }
}

static void FOR(product_of)(const float *values, int64_t from, int64_t stop, int64_t elements, int64_t apart, const float *base,
                            const float *matrix, int64_t stride, int64_t units, void *out, int half) {
    for (int64_t h = 0; h < units; h += WIDE * LANES) {
        const int64_t vectors = (units - h + LANES - 1) / LANES;
#define CASE(count) \
    case count: FOR(multiply)(values, from, stop, elements, apart, base, matrix, stride, units, count, h, out, half); break;
        switch (vectors) {
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
            default: FOR(multiply)(values, from, stop, elements, apart, base, matrix, stride, units, WIDE, h, out, half);
        }
#undef CASE
    }
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
        FOR(product_of)(t->values + from * t->width, from, stop, t->width, t->width, base, matrix, t->stride, t->units, t->out, t->half);
    }
}

/* sum (width, stride) += the outer products of values (n, width) and gradients (n, stride). */
INLINE void FOR(outer)(const float *values, const float *gradient, int64_t n, int64_t width, int64_t stride, int64_t h, int vectors,
                       int two, float *sum) {
    FOR(vector_t) total[2][WIDE];
    for (int which = 0; which <= two; which++)
        for (int v = 0; v < vectors; v++) total[which][v] = *(const FOR(vector_t) *)(sum + which * stride + h + v * LANES);
    for (int64_t i = 0; i < n; i++) {
        const float one = values[i * width], other = two ? values[i * width + 1] : 0;
        for (int v = 0; v < vectors; v++) {
            const FOR(vector_t) row = *(const FOR(vector_t) *)(gradient + i * stride + h + v * LANES);
            total[0][v] += one * row;
            if (two) total[1][v] += other * row;
        }
    }
    for (int which = 0; which <= two; which++)
        for (int v = 0; v < vectors; v++) *(FOR(vector_t) *)(sum + which * stride + h + v * LANES) = total[which][v];
}

static void FOR(outer_products)(const float *values, const float *gradient, int64_t n, int64_t width, int64_t stride, int64_t units,
                                float *sum) {
    for (int64_t e = 0; e < width; e += 2)
        for (int64_t h = 0; h < units; h += WIDE * LANES) {
            const int64_t vectors = (units - h + LANES - 1) / LANES;
            const float *first = values + e;
            float *into = sum + e * stride;
#define CASE(count)                                                                          \
    case count:                                                                              \
        if (e + 1 < width) FOR(outer)(first, gradient, n, width, stride, h, count, 1, into); \
        else FOR(outer)(first, gradient, n, width, stride, h, count, 0, into);               \
        break;
            switch (vectors < WIDE ? vectors : WIDE) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(WIDE) }
#undef CASE
        }
}

/* Blocks of rows of the batch: the gradients of their values, targets and sums, and what they add to that of the weight. */
static void FOR(attention_backward)(const void *task, int64_t begin, int64_t end) {
    const attention_t *t = task;
    const int64_t width = t->width, stride = t->stride, units = t->units;
    float matrix[LARGEST], sum[LARGEST], near[STEP * LONGEST], total[LONGEST], target[LONGEST];
    const float none[LONGEST] = {0};
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
                FOR(product_of)(near, at, at + n, units, stride, none, matrix, t->turned_stride, width, t->value_gradient, 0);
                FOR(outer_products)(t->values + at * width, near, n, width, stride, units, sum);
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
