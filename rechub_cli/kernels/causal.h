/* Loops of causal self-attention, for one kind of processor (see kinds.h). */

#include "products.h"

typedef int32_t FOR(integers_t) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* The larger of two, lane by lane; the other where either is not a number. */
INLINE FOR(vector_t) FOR(larger)(FOR(vector_t) one, FOR(vector_t) other) {
    const FOR(words_t) is = (FOR(words_t))(one > other);
    return (FOR(vector_t))((is & (FOR(words_t))one) | (~is & (FOR(words_t))other));
}

/* e^x of what is not above 0, as 2^k e^r, with r within half of ln 2, to 1e-7. Not a number stays one. */
INLINE FOR(vector_t) FOR(power)(FOR(vector_t) x) {
    x = FOR(larger)((FOR(vector_t)){0} - 87.0f, x);
    const FOR(integers_t) k = __builtin_convertvector(x * 1.44269504f - 0.5f, FOR(integers_t)); /* to the nearest: towards 0 */
    const FOR(vector_t) r = x - __builtin_convertvector(k, FOR(vector_t)) * 0.693147181f, square = r * r;
    const FOR(vector_t) e = (1.00000007f + 0.999999692f * r) +
                            square * ((0.499988946f + 0.166675752f * r) + square * (0.0419154157f + 0.00829763072f * r));
    return e * (FOR(vector_t))((k + 127) << 23);
}

INLINE int64_t FOR(whole_vectors)(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* Scores become chances, row by row: of the first `seen`, one more in each row; the others up to `keys` and a whole vector are 0. */
INLINE void FOR(softmax)(float *scores, int64_t n, int64_t seen, int64_t keys, int64_t stride) {
    const int64_t stop = FOR(whole_vectors)(keys);
    for (int64_t i = 0; i < n; i++) {
        float *row = scores + i * stride, largest = -INFINITY, total = 0;
        for (int64_t j = seen + i; j < stop; j++) row[j] = -INFINITY;
        FOR(vector_t) most = (FOR(vector_t)){0} - INFINITY, sum = {0};
        for (int64_t j = 0; j < stop; j += LANES) most = FOR(larger)(*(const FOR(vector_t) *)(row + j), most);
        for (int lane = 0; lane < LANES; lane++) largest = most[lane] > largest ? most[lane] : largest;
        for (int64_t j = 0; j < stop; j += LANES) {
            const FOR(vector_t) one = FOR(power)(*(const FOR(vector_t) *)(row + j) - largest);
            *(FOR(vector_t) *)(row + j) = one;
            sum += one;
        }
        for (int lane = 0; lane < LANES; lane++) total += sum[lane];
        for (int64_t j = 0; j < stop; j += LANES) *(FOR(vector_t) *)(row + j) /= total;
        for (int64_t j = seen + i; j < stop; j++) row[j] = 0;
    }
}

/* Some columns of n rows, times `scale`, each row filled up to whole vectors. */
INLINE void FOR(copy)(const float *from, int64_t apart, int64_t n, int64_t width, float scale, float *to) {
    const int64_t stride = whole(width);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t d = 0; d < width; d++) to[i * stride + d] = scale * from[i * apart + d];
        for (int64_t d = width; d < stride; d++) to[i * stride + d] = 0;
    }
}

/* The same transposed; what fills up the rows is not written. */
INLINE void FOR(turn)(const float *from, int64_t apart, int64_t n, int64_t width, float scale, float *to) {
    const int64_t stride = whole(n);
    for (int64_t d = 0; d < width; d++)
        for (int64_t i = 0; i < n; i++) to[d * stride + i] = scale * from[i * apart + d];
}

/* n queries by the first `keys` of L keys, turned and scaled, as chances; all from query `first` of their row on. */
INLINE void FOR(chances_of)(const float *queries, int64_t apart, int64_t n, int64_t first, int64_t keys, int64_t width,
                            const float *turned, int64_t length, float *chances, int64_t stride) {
    FOR(multiply)((product_t){.n = n, .elements = width, .units = FOR(whole_vectors)(keys), .values = queries, .matrix = turned,
                              .out = chances, .apart = apart, .stride = whole(length), .pitch = stride});
    FOR(softmax)(chances, n, first + 1, keys, stride);
}

static void FOR(causal_forward)(const void *task, int64_t begin, int64_t end) {
    const causal_t *t = task;
    const int64_t width = t->width, all = t->heads * width, stride = whole(width), across = whole(t->longest);
    const float scale = 1 / sqrtf((float)width);
    float *values = t->near + worker * t->size, *turned = values + t->longest * stride, *chances = turned + width * across;
    for (int64_t item = begin; item < end; item++) {
        const int64_t b = item / t->heads, from = t->offsets[b], length = t->offsets[b + 1] - from, column = item % t->heads * width;
        const float *packed = t->packed + from * 3 * all + column;
        FOR(turn)(packed + all, 3 * all, length, width, scale, turned);
        FOR(copy)(packed + 2 * all, 3 * all, length, width, 1, values);
        for (int64_t first = 0; first < length; first += QUERIES) {
            const int64_t n = length - first < QUERIES ? length - first : QUERIES, keys = first + n;
            FOR(chances_of)(packed + first * 3 * all, 3 * all, n, first, keys, width, turned, length, chances, across);
            FOR(multiply)((product_t){.n = n, .elements = keys, .units = width, .values = chances, .matrix = values,
                                      .out = t->out + (from + first) * all + column, .apart = across, .stride = stride, .pitch = all});
        }
    }
}

static void FOR(causal_backward)(const void *task, int64_t begin, int64_t end) {
    const causal_t *t = task;
    const int64_t width = t->width, all = t->heads * width, stride = whole(width), across = whole(t->longest);
    const float scale = 1 / sqrtf((float)width);
    float *keys = t->near + worker * t->size, *of_keys = keys + t->longest * stride, *of_values = of_keys + t->longest * stride;
    float *turned_keys = of_values + t->longest * stride, *turned_values = turned_keys + width * across;
    float *chances = turned_values + width * across, *slopes = chances + QUERIES * across;
    float *queries = slopes + QUERIES * across, *gradient = queries + QUERIES * stride;
    for (int64_t item = begin; item < end; item++) {
        const int64_t b = item / t->heads, from = t->offsets[b], length = t->offsets[b + 1] - from, column = item % t->heads * width;
        const float *packed = t->packed + from * 3 * all + column;
        float *out = t->out + from * 3 * all + column;
        FOR(copy)(packed + all, 3 * all, length, width, scale, keys);
        FOR(turn)(packed + all, 3 * all, length, width, scale, turned_keys);
        FOR(turn)(packed + 2 * all, 3 * all, length, width, 1, turned_values);
        memset(of_keys, 0, sizeof(float) * (size_t)(length * stride));
        memset(of_values, 0, sizeof(float) * (size_t)(length * stride));
        for (int64_t first = 0; first < length; first += QUERIES) {
            const int64_t n = length - first < QUERIES ? length - first : QUERIES, seen = first + n;
            FOR(copy)(packed + first * 3 * all, 3 * all, n, width, 1, queries);
            FOR(copy)(t->gradient + (from + first) * all + column, all, n, width, 1, gradient);
            FOR(chances_of)(queries, stride, n, first, seen, width, turned_keys, length, chances, across);
            FOR(multiply)((product_t){.n = n, .elements = width, .units = FOR(whole_vectors)(seen), .values = gradient,
                                      .matrix = turned_values, .out = slopes, .apart = stride, .stride = whole(length), .pitch = across});
            for (int64_t i = 0; i < n; i++) { /* from the gradient of the chances to that of the scores */
                float *slope = slopes + i * across, middle = 0;
                const float *chance = chances + i * across;
                for (int64_t j = 0; j < seen; j++) middle += chance[j] * slope[j];
                for (int64_t j = 0; j < seen; j++) slope[j] = chance[j] * (slope[j] - middle);
            }
            FOR(multiply)((product_t){.n = n, .elements = seen, .units = width, .values = slopes, .matrix = keys,
                                      .out = out + first * 3 * all, .apart = across, .stride = stride, .pitch = 3 * all});
            FOR(add_outer)((outer_t){.n = n, .width = seen, .units = width, .values = slopes, .gradient = queries, .sum = of_keys,
                                     .apart = across, .stride = stride});
            FOR(add_outer)((outer_t){.n = n, .width = seen, .units = width, .values = chances, .gradient = gradient,
                                     .sum = of_values, .apart = across, .stride = stride});
        }
        for (int64_t i = 0; i < length; i++)
            for (int64_t d = 0; d < width; d++) {
                out[i * 3 * all + all + d] = scale * of_keys[i * stride + d];
                out[i * 3 * all + 2 * all + d] = of_values[i * stride + d];
            }
    }
}
