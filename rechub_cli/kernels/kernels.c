/* Loops for which torch has no single operator: many passes over memory become one.
 *
 * Plain C without a header of Python or torch: `__init__.py` calls it through ctypes with the addresses of tensors, so one
 * build serves every version of either. Work is shared among the threads of torch's own OpenMP pool, whose entry
 * point `set_parallel` is told; every result depends on the numbers alone, never on how threads share them.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Built once, for processors with and without wide vectors; the right one is chosen where it runs. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define VECTORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORS
#endif
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#define INLINE static inline __attribute__((always_inline))
#else
#define PREFETCH(address)
#define INLINE static inline
#endif

typedef void (*body_fn)(void *);
typedef void (*parallel_fn)(body_fn, void *, unsigned, unsigned);

static parallel_fn run_parallel = NULL;

void set_parallel(parallel_fn function) { run_parallel = function; }

/* ---- sharing work: threads take the next `grain` items until none is left ---- */

typedef struct job {
    void (*work)(const void *task, int64_t begin, int64_t end);
    const void *task;
    int64_t n, grain;
    _Atomic int64_t next;
} job_t;

static void drain(void *data) {
    job_t *job = data;
    for (;;) {
        int64_t begin = atomic_fetch_add(&job->next, job->grain);
        if (begin >= job->n) return;
        int64_t end = begin + job->grain < job->n ? begin + job->grain : job->n;
        job->work(job->task, begin, end);
    }
}

static void share(void (*work)(const void *, int64_t, int64_t), const void *task, int64_t n, int64_t grain, int threads) {
    if (run_parallel == NULL || threads < 2 || n <= grain) {
        if (n > 0) work(task, 0, n);
        return;
    }
    job_t job = {work, task, n, grain, 0};
    run_parallel(drain, &job, (unsigned)threads, 0);
}

/* ---- bringing equal ids together ---- */

#define DIGIT 11
#define BINS (1 << DIGIT)

/* Occurrences (n,) by rising id, stable. Writes `order` (n,), `rows` and `starts` (U,); returns U, or -1 without memory
 * or where an id is negative. */
int64_t group_ids(const int32_t *ids, int64_t n, int64_t *order, int64_t *rows, int64_t *starts) {
    if (n == 0) return 0;
    int32_t top = 0;
    for (int64_t i = 0; i < n; i++) top |= ids[i];
    if (top < 0) return -1;
    uint64_t *keys = malloc(sizeof(uint64_t) * (size_t)n * 2);
    if (keys == NULL) return -1;
    uint64_t *other = keys + n;
    for (int64_t i = 0; i < n; i++) keys[i] = (uint64_t)(uint32_t)ids[i] << 32 | (uint64_t)i;
    for (int shift = 32; shift < 64 && (uint64_t)(uint32_t)top << 32 >> shift; shift += DIGIT) {
        int64_t place[BINS] = {0}, total = 0;
        for (int64_t i = 0; i < n; i++) place[keys[i] >> shift & (BINS - 1)]++;
        for (int b = 0; b < BINS; b++) {
            int64_t count = place[b];
            place[b] = total;
            total += count;
        }
        for (int64_t i = 0; i < n; i++) other[place[keys[i] >> shift & (BINS - 1)]++] = keys[i];
        uint64_t *swap = keys;
        keys = other;
        other = swap;
    }
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t id = (int64_t)(keys[i] >> 32);
        order[i] = (int64_t)(keys[i] & 0xffffffffu);
        if (found == 0 || rows[found - 1] != id) {
            rows[found] = id;
            starts[found++] = i;
        }
    }
    free(keys < other ? keys : other);
    return found;
}

/* ---- reading and updating rows of a table ---- */

#define AHEAD 12
#define ROWS 256 /* rows that a thread takes at once */

static inline void fetch(const float *row, int64_t width) {
    for (int64_t e = 0; e < width; e += 16) PREFETCH(row + e);
}

typedef struct {
    const int32_t *ids;
    int64_t width;
    const float *table;
    float *out;
    int64_t n;
} gather_t;

static void gather_work(const void *task, int64_t begin, int64_t end) {
    const gather_t *t = task;
    for (int64_t i = begin; i < end; i++) {
        if (i + AHEAD < t->n) fetch(t->table + t->ids[i + AHEAD] * t->width, t->width);
        memcpy(t->out + i * t->width, t->table + t->ids[i] * t->width, sizeof(float) * (size_t)t->width);
    }
}

/* out (n, width) = table[ids]; -1 where an id is outside the table, which then was not read. */
int gather_rows(const int32_t *ids, int64_t n, int64_t width, const float *table, int64_t height, float *out, int threads) {
    uint32_t highest = 0;
    for (int64_t i = 0; i < n; i++) highest = (uint32_t)ids[i] > highest ? (uint32_t)ids[i] : highest;
    if (n && highest >= height) return -1;
    gather_t task = {ids, width, table, out, n};
    share(gather_work, &task, n, 4 * ROWS, threads);
    return 0;
}

typedef struct {
    const int64_t *rows;
    const float *grads;
    int64_t n, width;
    float *weight, *mean, *square;
    float rate, beta1, beta2, eps, decay, root; /* rate = lr / (1 - beta1^t), root = sqrt(1 - beta2^t) */
} adam_t;

VECTORS static void adam_work(const void *task, int64_t begin, int64_t end) {
    const adam_t *t = task;
    const int64_t width = t->width;
    const float rate = t->rate, beta1 = t->beta1, beta2 = t->beta2, eps = t->eps, decay = t->decay, root = t->root;
    for (int64_t i = begin; i < end; i++) {
        if (i + AHEAD < t->n) {
            int64_t next = t->rows[i + AHEAD] * width;
            fetch(t->weight + next, width);
            fetch(t->mean + next, width);
            fetch(t->square + next, width);
        }
        const float *restrict grad = t->grads + i * width;
        float *restrict w = t->weight + t->rows[i] * width;
        float *restrict m = t->mean + t->rows[i] * width;
        float *restrict v = t->square + t->rows[i] * width;
        for (int64_t e = 0; e < width; e++) {
            float g = grad[e] + decay * w[e];
            m[e] = m[e] + (1 - beta1) * (g - m[e]);
            v[e] = beta2 * v[e] + (1 - beta2) * g * g;
            w[e] -= rate * m[e] / (sqrtf(v[e]) / root + eps);
        }
    }
}

void lazy_adam(const int64_t *rows, const float *grads, int64_t n, int64_t width, float *weight, float *mean, float *square,
               double step, double lr, double beta1, double beta2, double eps, double decay, int threads) {
    adam_t task = {rows, grads, n, width, weight, mean, square, (float)(lr / (1 - pow(beta1, step))), (float)beta1,
                   (float)beta2, (float)eps, (float)decay, (float)sqrt(1 - pow(beta2, step))};
    share(adam_work, &task, n, ROWS, threads);
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

/* ---- values of two widths: float32, or bfloat16 with sums in float32 ---- */

INLINE float widen(uint16_t value) {
    union { uint32_t bits; float number; } both = {(uint32_t)value << 16};
    return both.number;
}

INLINE uint16_t narrow(float value) { /* to the nearest, ties to even; not a number stays one */
    union { float number; uint32_t bits; } both = {value};
    uint32_t rounded = (both.bits + 0x7fffu + (both.bits >> 16 & 1)) >> 16;
    return (uint16_t)((both.bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

INLINE float get(const void *values, int64_t place, int bf16) {
    return bf16 ? widen(((const uint16_t *)values)[place]) : ((const float *)values)[place];
}

INLINE void put(void *values, int64_t place, float value, int bf16) {
    if (bf16) ((uint16_t *)values)[place] = narrow(value);
    else ((float *)values)[place] = value;
}

/* ---- a linear layer over looked-up rows ----
 *
 * The layer's input is F fields of width E, each a row of a table, and D numbers. Few distinct rows occur in a batch, so the
 * product of each with its columns of the weight is made once, and a row of the output is a sum of F such products.
 */

typedef struct {
    int64_t n, fields, width, numbers, outputs, columns; /* columns: of the weight, F * E + D */
    const int64_t *rows;   /* (U,) distinct rows of the table */
    const int64_t *first;  /* (F + 1,) where each field's rows start among them */
    const int64_t *order, *starts; /* occurrences b * F + f by row */
    const int32_t *slot;   /* (n, F) the place of each occurrence's row among the distinct ones */
    const float *table, *weight, *bias, *dense;
    float *turned;         /* (columns, outputs): the weight transposed */
    void *products;        /* (U, outputs) */
    void *out;             /* (n, outputs); in the backward pass its gradient */
    float *row_gradient;   /* (U, E), added to */
    float *turned_gradient; /* (columns, outputs) */
    float *weight_gradient; /* (outputs, columns): the same, transposed */
    int64_t found;
    int bf16;
} linear_t;

/* Rows are read and written whole: pieces of them, a power of two apart, would push each other out of the cache. */

VECTORS static void turn_work(const void *task, int64_t begin, int64_t end) { /* tiles of 16 outputs */
    const linear_t *t = task;
    for (int64_t tile = begin * 16; tile < end * 16; tile += 16)
        for (int64_t k = 0; k < t->columns; k++)
            for (int64_t h = tile; h < tile + 16 && h < t->outputs; h++)
                t->turned[k * t->outputs + h] = t->weight[h * t->columns + k];
}

VECTORS static void turn_back_work(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t tile = begin * 16; tile < end * 16; tile += 16)
        for (int64_t k = 0; k < t->columns; k++)
            for (int64_t h = tile; h < tile + 16 && h < t->outputs; h++)
                t->weight_gradient[h * t->columns + k] = t->turned_gradient[k * t->outputs + h];
}

INLINE void product(const linear_t *task, int64_t field, int bf16) {
    const linear_t local = *task, *t = &local; /* of which the compiler knows that no value written changes it */
    const int64_t n = t->outputs;
    float sum[n];
    for (int64_t u = t->first[field]; u < t->first[field + 1]; u++) {
        const float *row = t->table + t->rows[u] * t->width;
        for (int64_t h = 0; h < n; h++) sum[h] = 0;
        for (int64_t e = 0; e < t->width; e++) {
            const float *restrict column = t->turned + (field * t->width + e) * n;
            float factor = row[e];
            for (int64_t h = 0; h < n; h++) sum[h] += factor * column[h];
        }
        for (int64_t h = 0; h < n; h++) put(t->products, u * n + h, sum[h], bf16);
    }
}

VECTORS static void product_work(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t field = begin; field < end; field++) {
        if (t->bf16) product(t, field, 1);
        else product(t, field, 0);
    }
}

/* sum += rows `places` of `values`, four at a time. */
#define ADD_ROWS(count, place)                                                                                         \
    do {                                                                                                               \
        int64_t i_ = 0;                                                                                                \
        for (; i_ + 4 <= (count); i_ += 4) {                                                                           \
            int64_t p0 = (place(i_)) * n, p1 = (place(i_ + 1)) * n, p2 = (place(i_ + 2)) * n, p3 = (place(i_ + 3)) * n; \
            for (int64_t h = 0; h < n; h++)                                                                            \
                sum[h] += (get(values, p0 + h, bf16) + get(values, p1 + h, bf16)) +                                    \
                          (get(values, p2 + h, bf16) + get(values, p3 + h, bf16));                                     \
        }                                                                                                              \
        for (; i_ < (count); i_++)                                                                                     \
            for (int64_t h = 0; h < n; h++) sum[h] += get(values, (place(i_)) * n + h, bf16);                          \
    } while (0)

INLINE void sum_products(const linear_t *task, int64_t b, int bf16) {
    const linear_t local = *task, *t = &local;
    const int32_t *slot = t->slot + b * t->fields;
    const int64_t n = t->outputs;
    const void *values = t->products;
    float sum[n];
    for (int64_t h = 0; h < n; h++) sum[h] = t->bias ? t->bias[h] : 0;
    for (int64_t d = 0; d < t->numbers; d++) {
        const float *restrict column = t->turned + (t->fields * t->width + d) * n;
        float factor = t->dense[b * t->numbers + d];
        for (int64_t h = 0; h < n; h++) sum[h] += factor * column[h];
    }
#define SLOT(i) slot[i]
    ADD_ROWS(t->fields, SLOT);
    for (int64_t h = 0; h < n; h++) put(t->out, b * n + h, sum[h], bf16);
}

VECTORS static void sum_work(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t b = begin; b < end; b++) {
        if (t->bf16) sum_products(t, b, 1);
        else sum_products(t, b, 0);
    }
}

/* The gradients of one field's columns and rows; the last "field" is that of the numbers. */
INLINE void field_gradient(const linear_t *task, int64_t field, int bf16) {
    const linear_t local = *task, *t = &local;
    const int numbers = field == t->fields;
    const int64_t width = numbers ? t->numbers : t->width, n = t->outputs;
    const void *values = t->out;
    const float *weights = t->turned + field * t->width * n;
    float *restrict turned = t->turned_gradient + field * t->width * n;
    float sum[n];
    for (int64_t i = 0; i < width * n; i++) turned[i] = 0;
    if (numbers) {
        for (int64_t b = 0; b < t->n; b++) {
            for (int64_t h = 0; h < n; h++) sum[h] = get(values, b * n + h, bf16);
            for (int64_t d = 0; d < width; d++) {
                float factor = t->dense[b * width + d];
                for (int64_t h = 0; h < n; h++) turned[d * n + h] += factor * sum[h];
            }
        }
        return;
    }
    for (int64_t u = t->first[field]; u < t->first[field + 1]; u++) {
        const int64_t *order = t->order + t->starts[u];
        int64_t count = (u + 1 < t->found ? t->starts[u + 1] : t->n * t->fields) - t->starts[u];
        for (int64_t h = 0; h < n; h++) sum[h] = 0;
#define ROW(i) order[i] / t->fields
        ADD_ROWS(count, ROW);
        const float *row = t->table + t->rows[u] * width;
        for (int64_t e = 0; e < width; e++) {
            float factor = row[e], dot = 0;
            for (int64_t h = 0; h < n; h++) {
                turned[e * n + h] += factor * sum[h];
                dot += weights[e * n + h] * sum[h];
            }
            t->row_gradient[u * width + e] += dot;
        }
    }
}

VECTORS static void gradient_work(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t item = begin; item < end; item++) {
        if (t->bf16) field_gradient(t, t->fields - item, 1); /* the numbers first: they take longest */
        else field_gradient(t, t->fields - item, 0);
    }
}

/* `shape`: n, F, E, D, outputs, U. `slot` and `first` are those of `place_rows`. */
void looked_up_linear(int backward, const int64_t *shape, const int64_t *rows, const int64_t *first, const int64_t *order,
                      const int64_t *starts, const int32_t *slot, const float *table, const float *weight, const float *bias,
                      const float *dense, float *turned, void *products, void *out, float *row_gradient,
                      float *turned_gradient, float *weight_gradient, int bf16, int threads) {
    linear_t t = {shape[0], shape[1], shape[2], shape[3], shape[4], shape[1] * shape[2] + shape[3], rows, first, order, starts,
                  slot, table, weight, bias, dense, turned, products, out, row_gradient, turned_gradient, weight_gradient,
                  shape[5], bf16};
    if (backward) {
        share(gradient_work, &t, t.fields + 1, 1, threads);
        share(turn_back_work, &t, (t.outputs + 15) / 16, 8, threads);
        return;
    }
    share(turn_work, &t, (t.outputs + 15) / 16, 8, threads);
    share(product_work, &t, t.fields, 1, threads);
    share(sum_work, &t, t.n, 16, threads);
}

/* Where each occurrence's row stands among the distinct ones, (n,), and where each field's rows start, (fields + 1,). */
void place_rows(const int64_t *order, int64_t n, const int64_t *rows, const int64_t *starts, int64_t found,
                const int64_t *offsets, int64_t fields, int32_t *slot, int64_t *first) {
    int64_t field = 0;
    for (int64_t u = 0; u < found; u++) {
        while (field < fields && offsets[field] <= rows[u]) first[field++] = u;
        int64_t stop = u + 1 < found ? starts[u + 1] : n;
        for (int64_t i = starts[u]; i < stop; i++) slot[order[i]] = (int32_t)u;
    }
    while (field <= fields) first[field++] = found;
}
