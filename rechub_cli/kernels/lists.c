/* Some of many rows and lists of int32 values, one after the other. */
#include "share.h"

#include <stdatomic.h>

#define LINE 16 /* values that are fetched at once */
#define FAR 24  /* rows that are fetched before they are needed: nothing else is to be done for them */

typedef struct {
    const int32_t *rows;
    const int64_t *order;
    int64_t size, width, n, n_parts;
    const int64_t *widths;
    int32_t *const *parts;
    _Atomic int *wrong;
} take_t;

static void take_work(const void *task, int64_t begin, int64_t end) {
    const take_t *t = task;
    for (int64_t i = begin; i < end; i++) {
        if (i + FAR < t->n && t->order[i + FAR] >= 0 && t->order[i + FAR] < t->size) {
            const int32_t *next = t->rows + t->order[i + FAR] * t->width;
            for (int64_t c = 0; c < t->width; c += LINE) PREFETCH(next + c);
        }
        if (t->order[i] < 0 || t->order[i] >= t->size) {
            atomic_store(t->wrong, 1);
            return;
        }
        const int32_t *row = t->rows + t->order[i] * t->width;
        for (int64_t p = 0; p < t->n_parts; p++) {
            memcpy(t->parts[p] + i * t->widths[p], row, (size_t)t->widths[p] * sizeof *row);
            row += t->widths[p];
        }
    }
}

/* Of `size` rows of `width` values, those named by order (n), cut into parts that are together as wide as a row:
 * parts[p] (n, widths[p]). Whether there are such rows. */
int take_rows(const int32_t *rows, int64_t size, int64_t width, const int64_t *order, int64_t n, int64_t n_parts,
              const int64_t *widths, int32_t *const *parts, int threads) {
    _Atomic int wrong = 0;
    const take_t task = {rows, order, size, width, n, n_parts, widths, parts, &wrong};
    share(take_work, &task, n, ROWS, threads);
    return !wrong;
}

typedef struct {
    const int32_t *values;
    const int64_t *starts, *offsets;
    int64_t size, n;
    int32_t *out;
    _Atomic int *wrong;
} gather_t;

static void gather_work(const void *task, int64_t begin, int64_t end) {
    const gather_t *t = task;
    const int64_t *starts = t->starts, *offsets = t->offsets, size = t->size;
    for (int64_t i = begin; i < end; i++) {
        if (i + AHEAD < t->n && starts[i + AHEAD] >= 0 && starts[i + AHEAD] < size) PREFETCH(t->values + starts[i + AHEAD]);
        const int64_t length = offsets[i + 1] - offsets[i];
        if (length < 0 || starts[i] < 0 || length > size - starts[i]) {
            atomic_store(t->wrong, 1);
            return;
        }
        memcpy(t->out + offsets[i], t->values + starts[i], (size_t)length * sizeof *t->out);
    }
}

/* out: list i of n is the values from starts[i] on, and lies from offsets[i] up to offsets[i + 1].
 * Whether all of them lie within the `size` values there are; nothing is written of one that does not. */
int gather_lists(const int32_t *values, int64_t size, const int64_t *starts, const int64_t *offsets, int64_t n, int32_t *out,
                 int threads) {
    _Atomic int wrong = 0;
    const gather_t task = {values, starts, offsets, size, n, out, &wrong};
    share(gather_work, &task, n, ROWS, threads);
    return !wrong;
}
