/* Loops of a linear layer of few outputs, for one kind of processor (see kinds.h). */

#include "vectors.h"

static void FOR(narrow_forward)(const void *task, int64_t begin, int64_t end) {
    const narrow_t *t = task;
    for (int64_t b = begin; b < end; b++)
        for (int64_t o = 0; o < t->outputs; o++) {
            FOR(vector_t) sum = {0};
            for (int64_t e = 0; e < t->width; e += LANES) {
                const int64_t count = t->width - e < LANES ? t->width - e : LANES;
                sum += FOR(load)(t->x, b * t->width + e, count, t->half) * FOR(load)(t->weight, o * t->width + e, count, 0);
            }
            float total = t->bias ? t->bias[o] : 0;
            for (int i = 0; i < LANES; i++) total += sum[i];
            t->out[b * t->outputs + o] = total;
        }
}

/* Blocks of rows: the gradients of their inputs, and what they add to that of the weight. */
INLINE void FOR(narrow_blocks)(const narrow_t *t, int64_t begin, int64_t end, int64_t outputs, int half) {
    for (int64_t block = begin; block < end; block++) {
        const int64_t from = block * t->rows, stop = from + t->rows < t->n ? from + t->rows : t->n;
        for (int64_t e = 0; e < t->width; e += LANES) {
            const int64_t count = t->width - e < LANES ? t->width - e : LANES;
            FOR(vector_t) weight[FEW], part[FEW] = {0};
            for (int64_t o = 0; o < outputs; o++) weight[o] = FOR(load)(t->weight, o * t->width + e, count, 0);
            for (int64_t b = from; b < stop; b++) {
                FOR(vector_t) value = FOR(load)(t->x, b * t->width + e, count, half), gradient = {0};
                for (int64_t o = 0; o < outputs; o++) {
                    part[o] += t->gradient[b * outputs + o] * value;
                    gradient += t->gradient[b * outputs + o] * weight[o];
                }
                if (t->x_gradient) FOR(store)(gradient, t->x_gradient, b * t->width + e, count, half);
            }
            for (int64_t o = 0; o < outputs; o++) FOR(store)(part[o], t->part, (block * outputs + o) * t->width + e, count, 0);
        }
    }
}

static void FOR(narrow_backward)(const void *task, int64_t begin, int64_t end) {
    const narrow_t local = *(const narrow_t *)task, *t = &local; /* of which the compiler knows that no value written changes it */
    if (t->outputs == 1 && t->half) FOR(narrow_blocks)(t, begin, end, 1, 1);
    else if (t->outputs == 1) FOR(narrow_blocks)(t, begin, end, 1, 0);
    else FOR(narrow_blocks)(t, begin, end, t->outputs, t->half);
}
