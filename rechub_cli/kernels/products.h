/* Products with a matrix that a core's cache holds, for one kind of processor (see kinds.h). */

#include "vectors.h"

#ifndef PRODUCTS_H
#define PRODUCTS_H

#define WIDE 6 /* vectors of outputs at once */
#define MANY 8 /* rows at once, where they have few vectors: together they stay in registers, and there are enough to be busy */
#if defined(__GNUC__) && !defined(__clang__)
#define EACH _Pragma("GCC unroll 8") /* so that an array's items are registers */
#else
#define EACH
#endif
#define AT_ONCE(vectors) ((vectors) == 1 ? MANY : (vectors) == 2 ? 6 : (vectors) == 3 ? 4 : 2)

/* out (n, units) = base + values (n, elements) @ matrix (elements, units) */
typedef struct {
    int64_t n, elements, units;
    const float *values, *matrix, *base; /* base: (units,), or NULL; it and the matrix can be read up to whole vectors */
    void *out;
    int64_t apart, stride, pitch; /* from one row to the next, of values, matrix and out */
    int half;                     /* out is bf16 */
} product_t;

/* sum (width, units) += the outer products of values (n, width) and gradients (n, units) */
typedef struct {
    int64_t n, width, units;
    const float *values, *gradient;
    float *sum;
    int64_t apart, stride; /* from one row to the next, of values; of gradient and sum, whose rows are whole vectors */
} outer_t;

#endif

/* Of some rows from i on, the outputs of some vectors from h on. */
INLINE void FOR(multiply_rows)(const product_t *p, int64_t i, int rows, int64_t h, int vectors) {
    const float *values = p->values + i * p->apart, *matrix = p->matrix + h;
    FOR(vector_t) sum[MANY][WIDE];
    EACH for (int v = 0; v < vectors; v++) {
        const FOR(vector_t) base = p->base ? *(const FOR(vector_t) *)(p->base + h + v * LANES) : (FOR(vector_t)){0};
        EACH for (int r = 0; r < rows; r++) sum[r][v] = base;
    }
    for (int64_t e = 0; e < p->elements; e++)
        EACH for (int v = 0; v < vectors; v++) {
            const FOR(vector_t) row = *(const FOR(vector_t) *)(matrix + e * p->stride + v * LANES);
            EACH for (int r = 0; r < rows; r++) sum[r][v] += values[r * p->apart + e] * row;
        }
    const int64_t left = p->units - h - (vectors - 1) * LANES; /* of the last vector; the others are whole */
    EACH for (int r = 0; r < rows; r++) {
        float *out = (float *)p->out + (i + r) * p->pitch + h;
        EACH for (int v = 0; v < vectors; v++) {
            const int64_t count = v + 1 < vectors || left > LANES ? LANES : left;
            if (p->half) FOR(store)(sum[r][v], p->out, (i + r) * p->pitch + h + v * LANES, count, 1);
            else if (count == LANES) *(FOR(vector_t) *)(out + v * LANES) = sum[r][v];
            else FOR(store)(sum[r][v], out, v * LANES, count, 0);
        }
    }
}

INLINE void FOR(multiply_columns)(const product_t *p, int64_t h, int vectors) {
    const int rows = AT_ONCE(vectors);
    int64_t i = 0;
    for (; i + rows <= p->n; i += rows) FOR(multiply_rows)(p, i, rows, h, vectors);
    for (; i + 2 <= p->n; i += 2) FOR(multiply_rows)(p, i, 2, h, vectors);
    if (i < p->n) FOR(multiply_rows)(p, i, 1, h, vectors);
}

static void FOR(multiply)(product_t product) {
    const product_t *p = &product;
    for (int64_t h = 0; h < p->units; h += WIDE * LANES) {
        const int64_t vectors = (p->units - h + LANES - 1) / LANES;
        switch (vectors) {
            case 1: FOR(multiply_columns)(p, h, 1); break;
            case 2: FOR(multiply_columns)(p, h, 2); break;
            case 3: FOR(multiply_columns)(p, h, 3); break;
            case 4: FOR(multiply_columns)(p, h, 4); break;
            case 5: FOR(multiply_columns)(p, h, 5); break;
            default: FOR(multiply_columns)(p, h, WIDE);
        }
    }
}

/* Of some rows of the sum from e on, some vectors from h on. */
INLINE void FOR(add_outer_rows)(const outer_t *o, int64_t e, int rows, int64_t h, int vectors) {
    FOR(vector_t) total[MANY][WIDE];
    const float *values = o->values + e, *gradient = o->gradient + h;
    float *sum = o->sum + e * o->stride + h;
    EACH for (int r = 0; r < rows; r++)
        EACH for (int v = 0; v < vectors; v++) total[r][v] = *(const FOR(vector_t) *)(sum + r * o->stride + v * LANES);
    for (int64_t i = 0; i < o->n; i++)
        EACH for (int v = 0; v < vectors; v++) {
            const FOR(vector_t) row = *(const FOR(vector_t) *)(gradient + i * o->stride + v * LANES);
            EACH for (int r = 0; r < rows; r++) total[r][v] += values[i * o->apart + r] * row;
        }
    EACH for (int r = 0; r < rows; r++)
        EACH for (int v = 0; v < vectors; v++) *(FOR(vector_t) *)(sum + r * o->stride + v * LANES) = total[r][v];
}

INLINE void FOR(add_outer_columns)(const outer_t *o, int64_t h, int vectors) {
    const int rows = AT_ONCE(vectors);
    int64_t e = 0;
    for (; e + rows <= o->width; e += rows) FOR(add_outer_rows)(o, e, rows, h, vectors);
    for (; e + 2 <= o->width; e += 2) FOR(add_outer_rows)(o, e, 2, h, vectors);
    if (e < o->width) FOR(add_outer_rows)(o, e, 1, h, vectors);
}

static void FOR(add_outer)(outer_t outer) {
    const outer_t *o = &outer;
    for (int64_t h = 0; h < o->units; h += WIDE * LANES) {
        const int64_t vectors = (o->units - h + LANES - 1) / LANES;
        switch (vectors) {
            case 1: FOR(add_outer_columns)(o, h, 1); break;
            case 2: FOR(add_outer_columns)(o, h, 2); break;
            case 3: FOR(add_outer_columns)(o, h, 3); break;
            case 4: FOR(add_outer_columns)(o, h, 4); break;
            case 5: FOR(add_outer_columns)(o, h, 5); break;
            default: FOR(add_outer_columns)(o, h, WIDE);
        }
    }
}
