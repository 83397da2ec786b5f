/* Dice: x where the input is likely, alpha * x where it is not; the norm that tells, and what follows it, in few passes.
 *
 * Values lie (n, width), and are read as one row: every `period` values, whole rows and whole vectors, a place stands for the
 * same column again. Parameters and sums are held for each place of the period.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("finite-math-only") /* so that bounds are one instruction; what is not a number is a factor of its own result */
#endif
#include "halves.h"
#include "share.h"

#include <math.h>

typedef struct {
    const void *x; /* (n, width) */
    int half;      /* x, its gradient and the output's are bf16 */
    int64_t n, width, period, rows; /* rows: of a block */
    const float *near;    /* (3 or 5, period): mean, scale, alpha, and the two that `backward` takes */
    const void *gradient; /* of the output */
    void *out;            /* (n, width): the output, or the gradient of x */
    float *part;          /* by block: (2 or 3, period) */
} dice_t;

#if defined(__GNUC__) && !defined(__clang__)
#define APART _Pragma("GCC ivdep") /* no value that the next loop writes changes one that it reads */
#else
#define APART
#endif

/* 1 / (1 + e^-x): e^-x as 2^k e^r, with r within half of ln 2 and e^r by the best polynomial, to 1e-7. Not a number stays one. */
INLINE float likely(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const int32_t k = (int32_t)(x * -1.44269504f + 127.5f); /* of a positive number: the floor */
    const float r = -x - (float)(k - 127) * 0.693147181f, square = r * r;
    const float e = (1.00000007f + 0.999999692f * r) + square * ((0.499988946f + 0.166675752f * r) + square * (0.0419154157f + 0.00829763072f * r));
    return 1 / (1 + e * (word_t){.bits = (uint32_t)k << 23}.value);
}

/* Where a block's values start, and where they end. */
INLINE int64_t first(const dice_t *t, int64_t block) { return block * t->rows * t->width; }
INLINE int64_t beyond(const dice_t *t, int64_t block) {
    return (block + 1) * t->rows < t->n ? first(t, block + 1) : t->n * t->width;
}
INLINE int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

/* Of every place of the period, the mean of a block's values, and the sum of their squared distances from it. */
INLINE void moments(const dice_t *t, int64_t block, int half) {
    const int64_t from = first(t, block), stop = beyond(t, block), period = t->period;
    const void *restrict x = t->x;
    float *restrict mean = t->part + block * 2 * period, *restrict square = mean + period;
    memset(mean, 0, sizeof(float) * (size_t)period * 2);
    for (int64_t at = from; at < stop; at += period) {
        const int64_t count = smaller(period, stop - at);
        APART
        for (int64_t p = 0; p < count; p++) mean[p] += get(x, at + p, half);
    }
    for (int64_t p = 0; p < smaller(period, stop - from); p++) mean[p] /= (float)((stop - from - p + period - 1) / period);
    for (int64_t at = from; at < stop; at += period) {
        const int64_t count = smaller(period, stop - at);
        APART
        for (int64_t p = 0; p < count; p++) {
            const float distance = get(x, at + p, half) - mean[p];
            square[p] += distance * distance;
        }
    }
}

INLINE void outputs(const dice_t *t, int64_t block, int half) {
    const int64_t stop = beyond(t, block), period = t->period;
    const void *restrict x = t->x;
    const float *restrict mean = t->near, *restrict scale = mean + period, *restrict alpha = scale + period;
    void *restrict out = t->out;
    for (int64_t at = first(t, block); at < stop; at += period) {
        const int64_t count = smaller(period, stop - at);
        APART
        for (int64_t p = 0; p < count; p++) {
            const float value = get(x, at + p, half);
            put(value * (alpha[p] + (1 - alpha[p]) * likely((value - mean[p]) * scale[p])), out, at + p, half);
        }
    }
}

/* Of every place of the period, what a block adds to the gradient of alpha, to that of the norm, and to the sum of the latter
 * times the normed value. */
INLINE void sums(const dice_t *t, int64_t block, int half) {
    const int64_t stop = beyond(t, block), period = t->period;
    const void *restrict x = t->x, *restrict gradient = t->gradient;
    const float *restrict mean = t->near, *restrict scale = mean + period, *restrict alpha = scale + period;
    float *restrict of_alpha = t->part + block * 3 * period, *restrict of_norm = of_alpha + period, *restrict of_both = of_norm + period;
    memset(of_alpha, 0, sizeof(float) * (size_t)period * 3);
    for (int64_t at = first(t, block); at < stop; at += period) {
        const int64_t count = smaller(period, stop - at);
        APART
        for (int64_t p = 0; p < count; p++) {
            const float value = get(x, at + p, half), normed = (value - mean[p]) * scale[p], chance = likely(normed);
            const float one = get(gradient, at + p, half) * value * (1 - chance), other = one * (1 - alpha[p]) * chance;
            of_alpha[p] += one;
            of_norm[p] += other;
            of_both[p] += other * normed;
        }
    }
}

/* The gradient of x. `shared` and `sloped`: what the batch's own mean and deviation take from the gradient of the norm. */
INLINE void inputs(const dice_t *t, int64_t block, int half) {
    const int64_t stop = beyond(t, block), period = t->period;
    const void *restrict x = t->x, *restrict gradient = t->gradient;
    const float *restrict mean = t->near, *restrict scale = mean + period, *restrict alpha = scale + period;
    const float *restrict shared = alpha + period, *restrict sloped = shared + period;
    void *restrict out = t->out;
    for (int64_t at = first(t, block); at < stop; at += period) {
        const int64_t count = smaller(period, stop - at);
        APART
        for (int64_t p = 0; p < count; p++) {
            const float value = get(x, at + p, half), slope = get(gradient, at + p, half);
            const float normed = (value - mean[p]) * scale[p], chance = likely(normed);
            const float of_norm = slope * value * (1 - alpha[p]) * chance * (1 - chance) - shared[p] - normed * sloped[p];
            put(slope * (alpha[p] + (1 - alpha[p]) * chance) + scale[p] * of_norm, out, at + p, half);
        }
    }
}

#define OVER_BLOCKS(name, loop)                                              \
    VECTORS static void name(const void *task, int64_t begin, int64_t end) { \
        const dice_t *t = task;                                              \
        for (int64_t block = begin; block < end; block++)                    \
            if (t->half) loop(t, block, 1);                                  \
            else loop(t, block, 0);                                          \
    }
OVER_BLOCKS(moments_work, moments)
OVER_BLOCKS(outputs_work, outputs)
OVER_BLOCKS(sums_work, sums)
OVER_BLOCKS(inputs_work, inputs)

int64_t dice_period(int64_t width) {
    int64_t period = width;
    while (period % WHOLE) period *= 2;
    return period;
}

/* A value for each column, at all places of the period. */
static void spread(const float *values, int64_t width, int64_t period, float *near) {
    for (int64_t p = 0; p < period; p++) near[p] = values[p % width];
}

/* Mean and 1 / deviation of every column; running statistics move by `momentum`. `part`: (blocks of `rows`, 2, period). The
 * blocks' parts are added in their order, whichever thread made them. */
void dice_statistics(const void *x, int half, int64_t n, int64_t width, int64_t rows, float *part, double eps, double momentum,
                     float *running_mean, float *running_variance, float *mean, float *scale, int threads) {
    dice_t t = {x, half, n, width, dice_period(width), rows, NULL, NULL, NULL, part};
    const int64_t blocks = (n + rows - 1) / rows, in_period = t.period / width;
    share(moments_work, &t, blocks, 1, threads);
    for (int64_t column = 0; column < width; column++) {
        double count = 0, middle = 0, square = 0;
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t row = 0; row < in_period; row++) {
                const int64_t more = (smaller(rows, n - block * rows) - row + in_period - 1) / in_period;
                if (more < 1) break;
                const float *of_block = part + block * 2 * t.period + row * width + column;
                const double apart = of_block[0] - middle;
                square += of_block[t.period] + apart * apart * count * (double)more / (count + (double)more);
                count += (double)more;
                middle += apart * (double)more / count;
            }
        mean[column] = (float)middle;
        scale[column] = (float)(1 / sqrt(square / count + eps));
        running_mean[column] += (float)(momentum * (middle - running_mean[column]));
        running_variance[column] += (float)(momentum * (square / (count - 1) - running_variance[column]));
    }
}

/* x * (alpha + (1 - alpha) * sigmoid((x - mean) * scale)). `near`: (3, period). */
void dice_forward(const void *x, int half, int64_t n, int64_t width, const float *mean, const float *scale, const float *alpha,
                  int64_t rows, float *near, void *out, int threads) {
    dice_t t = {x, half, n, width, dice_period(width), rows, near, NULL, out, NULL};
    spread(mean, width, t.period, near);
    spread(scale, width, t.period, near + t.period);
    spread(alpha, width, t.period, near + 2 * t.period);
    share(outputs_work, &t, (n + rows - 1) / rows, 1, threads);
}

/* The gradients of x and of alpha. `settled`: mean and scale are not those of x. `near`: (5, period); `part`: (blocks of `rows`,
 * 3, period). */
void dice_gradients(const void *x, int half, int64_t n, int64_t width, const float *mean, const float *scale, const float *alpha,
                    const void *gradient, int settled, int64_t rows, float *near, float *part, void *x_gradient,
                    float *alpha_gradient, int threads) {
    dice_t t = {x, half, n, width, dice_period(width), rows, near, gradient, x_gradient, part};
    const int64_t blocks = (n + rows - 1) / rows;
    spread(mean, width, t.period, near);
    spread(scale, width, t.period, near + t.period);
    spread(alpha, width, t.period, near + 2 * t.period);
    share(sums_work, &t, blocks, 1, threads);
    for (int64_t column = 0; column < width; column++) {
        double sum[3] = {0};
        for (int64_t block = 0; block < blocks; block++)
            for (int which = 0; which < 3; which++)
                for (int64_t p = column; p < t.period; p += width) sum[which] += part[(block * 3 + which) * t.period + p];
        alpha_gradient[column] = (float)sum[0];
        for (int64_t p = column; p < t.period; p += width) {
            near[3 * t.period + p] = settled ? 0 : (float)(sum[1] / (double)n);
            near[4 * t.period + p] = settled ? 0 : (float)(sum[2] / (double)n);
        }
    }
    share(inputs_work, &t, blocks, 1, threads);
}
