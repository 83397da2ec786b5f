/* Loops for which torch has no single operator: many passes over memory become one.
 *
 * Plain C without a header of Python or torch: `loops.py` calls it through ctypes with the addresses of tensors, so one
 * build serves every version of either. Work is shared among the threads of torch's own OpenMP pool, whose entry
 * point `set_parallel` is told; every result depends on the numbers alone, never on how threads share them.
 */
#include "share.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef void (*body_fn)(void *);
typedef void (*parallel_fn)(body_fn, void *, unsigned, unsigned);

static parallel_fn run_parallel = NULL;

void set_parallel(parallel_fn function) { run_parallel = function; }

/* ---- sharing work: threads take the next `grain` items until none is left ---- */

typedef struct job {
    void (*work)(const void *task, int64_t begin, int64_t end);
    const void *task;
    int64_t n, grain;
    _Atomic int64_t next, workers;
} job_t;

_Thread_local int64_t worker = 0;

static void drain(void *data) {
    job_t *job = data;
    for (int64_t drawn = 0;; drawn++) {
        int64_t begin = atomic_fetch_add(&job->next, job->grain);
        if (begin >= job->n) return;
        if (!drawn) worker = atomic_fetch_add(&job->workers, 1); /* so that there are no more than there is work */
        int64_t end = begin + job->grain < job->n ? begin + job->grain : job->n;
        job->work(job->task, begin, end);
    }
}

void share(void (*work)(const void *, int64_t, int64_t), const void *task, int64_t n, int64_t grain, int threads) {
    if (run_parallel == NULL || threads < 2 || n <= grain) {
        worker = 0;
        if (n > 0) work(task, 0, n);
        return;
    }
    job_t job = {work, task, n, grain, 0, 0};
    run_parallel(drain, &job, (unsigned)threads, 0);
}

/* ---- updating rows of a table ---- */

typedef struct {
    const int64_t *rows;
    const float *grads;
    int64_t n, width, apart; /* of a table's rows; floats from one row of its moments to the next */
    float *weight, *mean, *square;
    float rate, beta1, beta2, eps, decay, root; /* rate = lr / (1 - beta1^t), root = sqrt(1 - beta2^t) */
} adam_t;

INLINE void adam_fetch(const adam_t *t, int64_t i) {
    fetch(t->weight + t->rows[i] * t->width, t->width);
    fetch(t->mean + t->rows[i] * t->apart, t->width);
    fetch(t->square + t->rows[i] * t->apart, t->width);
    fetch(t->grads + i * t->width, t->width);
}

VECTORS static void adam_work(const void *task, int64_t begin, int64_t end) {
    const adam_t *t = task;
    const int64_t width = t->width;
    const float rate = t->rate, beta1 = t->beta1, beta2 = t->beta2, eps = t->eps, decay = t->decay, root = t->root;
    for (int64_t i = begin; i < begin + AHEAD && i < end; i++) adam_fetch(t, i);
    for (int64_t i = begin; i < end; i++) {
        if (i + AHEAD < end) adam_fetch(t, i + AHEAD);
        const float *restrict grad = t->grads + i * width;
        float *restrict w = t->weight + t->rows[i] * width;
        float *restrict m = t->mean + t->rows[i] * t->apart;
        float *restrict v = t->square + t->rows[i] * t->apart;
        for (int64_t e = 0; e < width; e++) {
            float g = grad[e] + decay * w[e];
            m[e] = m[e] + (1 - beta1) * (g - m[e]);
            v[e] = beta2 * v[e] + (1 - beta2) * g * g;
            w[e] -= rate * m[e] / (sqrtf(v[e]) / root + eps);
        }
    }
}

void lazy_adam(const int64_t *rows, const float *grads, int64_t n, int64_t width, float *weight, float *mean, float *square,
               int64_t apart, double step, double lr, double beta1, double beta2, double eps, double decay, int threads) {
    adam_t task = {rows, grads, n, width, apart, weight, mean, square, (float)(lr / (1 - pow(beta1, step))), (float)beta1,
                   (float)beta2, (float)eps, (float)decay, (float)sqrt(1 - pow(beta2, step))};
    share(adam_work, &task, n, 4 * ROWS, threads);
}

typedef struct {
    const int64_t *rows;
    const float *grads;
    int64_t n, width;
    float *weight, *total;
    float lr, eps, decay;
} adagrad_t;

VECTORS static void adagrad_work(const void *task, int64_t begin, int64_t end) {
    const adagrad_t *t = task;
    const int64_t width = t->width;
    for (int64_t i = begin; i < end; i++) {
        if (i + AHEAD < t->n) {
            fetch(t->weight + t->rows[i + AHEAD] * width, width);
            PREFETCH(t->total + t->rows[i + AHEAD]);
        }
        const float *restrict grad = t->grads + i * width;
        float *restrict w = t->weight + t->rows[i] * width;
        float squares = 0;
        for (int64_t e = 0; e < width; e++) {
            float g = grad[e] + t->decay * w[e];
            squares += g * g;
        }
        float total = t->total[t->rows[i]] += squares / (float)width;
        float scale = t->lr / (sqrtf(total) + t->eps);
        for (int64_t e = 0; e < width; e++) w[e] -= scale * (grad[e] + t->decay * w[e]);
    }
}

void rowwise_adagrad(const int64_t *rows, const float *grads, int64_t n, int64_t width, float *weight, float *total,
                     double lr, double eps, double decay, int threads) {
    adagrad_t task = {rows, grads, n, width, weight, total, (float)lr, (float)eps, (float)decay};
    share(adagrad_work, &task, n, ROWS, threads);
}

/* ---- what torch does in several operators, whose start takes longer than the work ---- */

int rising(const int64_t *rows, int64_t n) {
    int wrong = 0;
    for (int64_t i = 1; i < n; i++) wrong |= rows[i] <= rows[i - 1];
    return !wrong;
}

/* Of the rows wanted, the places of those that are among n rising rows. Returns how many. */
int64_t find_rows(const int64_t *rows, int64_t n, const int64_t *wanted, int64_t count, int64_t *places) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t low = 0, high = n;
        while (low < high) {
            int64_t middle = (low + high) / 2;
            if (rows[middle] < wanted[i]) low = middle + 1;
            else high = middle;
        }
        if (low < n && rows[low] == wanted[i]) places[found++] = low;
    }
    return found;
}

void count_steps(float *const *steps, int64_t n) {
    for (int64_t i = 0; i < n; i++) *steps[i] += 1;
}

/* ---- a linear layer over looked-up rows ----
 *
 * The layer's input is F fields of width E, each a row of a table, and D numbers. Few distinct rows occur in a batch, so the
 * product of each with its columns of the weight is made once, and a row of the output is a sum of F such products.
 *
 * Every row of products, or of gradients, is read many times. So the outputs are cut into tiles, and what a tile needs lies
 * together, small enough for the cache of a core. A tile is `width` outputs, the last one fewer, filled up to whole FILLs.
 */

#define FILL 32      /* outputs: what a tile is filled up to */
#define BLOCK 64     /* distinct rows whose sums of gradients are held at once */
#define LEAST 64     /* outputs of a tile */
#define WIDEST 512
#define CACHE (512 << 10)

typedef struct {
    int64_t n, fields, width, numbers, outputs;
    int64_t columns, stride; /* F * E + D; and those of the weight, which may have other fields too */
    const int64_t *column;   /* (F + 1,) of the weight, where each field's columns start, then those of the numbers */
    const int64_t *first;  /* (F + 1,) where each field's rows start among them */
    const int64_t *starts; /* (U,) where each row's occurrences start in `at` */
    const int32_t *slot;   /* (n, F) the place of each occurrence's row among the distinct ones */
    const int32_t *at;     /* (n * F,) the batch's row of each occurrence, by distinct row */
    const float *rows;     /* (U, E) the distinct rows */
    const float *weight, *bias, *dense;
    float *turned;         /* by tile: (columns, tile), the weight transposed */
    void *near;            /* by thread, of one tile: products (U, tile); in the backward pass the gradient (n, tile) */
    void *out;             /* (n, outputs); in the backward pass its gradient */
    float *row_gradient;   /* (U, E), added to */
    float *part;           /* by tile: (U, E), what it adds */
    float *number_gradient; /* by tile: (D, tile) */
    float *weight_gradient; /* (outputs, stride), of which the columns of other fields are left as they are */
    float *bias_gradient;  /* (outputs,) or NULL */
    int64_t found;
    int bf16, add; /* add: `out` holds what the sums are added to */
    int64_t tile;
} linear_t;

typedef struct {
    int64_t from, kept, size; /* the first output, how many, and so many with the filling */
} tile_t;

/* Outputs of a tile: what is read of `rows` rows, products or gradients, fits the cache. Many products never do, and are read
 * quicker by half a tile then. */
int64_t looked_up_tile(int backward, int64_t rows, int bf16) {
    int64_t width = WIDEST, bytes = rows * (bf16 ? 2 : 4);
    while (width > LEAST && bytes * width > CACHE) width /= 2;
    return !backward && bytes * width > 4 * CACHE ? width / 2 : width;
}

INLINE tile_t tile_of(const linear_t *t, int64_t number) {
    int64_t from = number * t->tile, kept = t->outputs - from < t->tile ? t->outputs - from : t->tile;
    return (tile_t){from, kept, (kept + FILL - 1) / FILL * FILL};
}

#define LOOPS "looked_up.h"
#include "kinds.h"

/* The parts of the tiles are added in their order, whichever thread made them. */
typedef struct {
    float *total;
    const float *part;
    int64_t size, count;
} parts_t;

VECTORS static void parts_work(const void *task, int64_t begin, int64_t end) {
    const parts_t *t = task;
    for (int64_t p = 0; p < t->count; p++)
        for (int64_t i = begin; i < end; i++) t->total[i] += t->part[p * t->size + i];
}

/* `add`: forwards, what `out` holds is added to. `shape`: n, F, E, D, outputs, U, stride. `slot`, `at` and `first` are those of
 * `place_rows`; `near` is by thread, `part` by tile of `looked_up_tile` outputs. */
void looked_up_linear(int backward, int add, const int64_t *shape, const int64_t *column, const int64_t *first,
                      const int64_t *starts, const int32_t *slot, const int32_t *at, const float *rows, const float *weight, const float *bias, const float *dense,
                      float *turned, void *near, void *out, float *row_gradient, float *part,
                      float *number_gradient, float *weight_gradient, float *bias_gradient, int bf16, int threads) {
    linear_t t = {shape[0], shape[1], shape[2], shape[3], shape[4], shape[1] * shape[2] + shape[3], shape[6], column, first, starts,
                  slot, at, rows, weight, bias, dense, turned, near, out, row_gradient, part, number_gradient, weight_gradient,
                  bias_gradient, shape[5], bf16, add, looked_up_tile(backward, backward ? shape[0] : shape[5], bf16)};
    int64_t tiles = (t.outputs + t.tile - 1) / t.tile, size = t.found * t.width;
    share(backward ? BEST(backward_work) : BEST(forward_work), &t, tiles, 1, threads);
    if (backward) {
        parts_t parts = {row_gradient, part, size, tiles};
        share(parts_work, &parts, size, 4096, threads);
    }
}

/* Of the grouped ids of a batch (n rows), what looked_up_linear wants of some of their fields: `place` (F,) is each field's
 * number among these, rising, or negative. Where each occurrence's row stands among their distinct ones (n, K), the batch's
 * row of each occurrence as they are ordered (n * K,), where each field's rows start (K + 1,), where each row's occurrences
 * start, and which of all distinct rows it is, (U,) both. Returns U; -1 where an id lies among the rows of another field. */
int64_t place_rows(const int64_t *order, int64_t n, const int64_t *rows, const int64_t *starts, int64_t found,
                   const int64_t *offsets, int64_t fields, const int32_t *place, int64_t kept, int32_t *slot, int32_t *at,
                   int64_t *first, int64_t *kept_starts, int64_t *which) {
    int64_t field = -1, count = 0, placed = 0;
    for (int64_t u = 0; u < found; u++) {
        while (field + 1 < fields && offsets[field + 1] <= rows[u])
            if (place[++field] >= 0) first[place[field]] = count;
        if (field < 0) return -1;
        if (place[field] < 0) continue;
        const int64_t stop = u + 1 < found ? starts[u + 1] : n * fields;
        kept_starts[count] = placed;
        which[count] = u;
        for (int64_t i = starts[u]; i < stop; i++) {
            const int64_t row = (uint32_t)order[i] / (uint32_t)fields;
            if (order[i] - row * fields != field) return -1;
            slot[row * kept + place[field]] = (int32_t)count;
            at[placed++] = (int32_t)row;
        }
        count++;
    }
    while (++field < fields)
        if (place[field] >= 0) first[place[field]] = count;
    first[kept] = count;
    return placed == n * kept ? count : -1;
}
