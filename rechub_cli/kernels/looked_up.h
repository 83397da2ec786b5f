/* Loops of a linear layer over looked-up rows, for one kind of processor (see kinds.h).
 *
 * A pair of vectors is PAIR outputs. Of bfloat16 the first one holds the even outputs and the second the odd ones, which is
 * how the halves of 32-bit words lie; whatever is kept in a tile's own order of float32 has that order too.
 */

#include "vectors.h"

#define PAIR (2 * LANES)                    /* outputs */
#define SIDE 4    /* outputs, or rows, whose gradients are summed at once */
#define NEXT 2    /* rows ahead whose products are fetched */
#define AT_ONCE 5 /* numbers whose gradients are summed at once */
#define CHUNK (LANES < 8 ? 4 : 32 / LANES) /* pairs that are summed at once: they stay in registers */

/* Where an output stands in a tile's own order, and which one stands there. */
INLINE int64_t FOR(lane)(int64_t output, int bf16) {
    int64_t within = output % PAIR;
    return bf16 ? output - within + within % 2 * LANES + within / 2 : output;
}

INLINE int64_t FOR(output_at)(int64_t place, int bf16) {
    int64_t within = place % PAIR;
    return bf16 ? place - within + within % LANES * 2 + within / LANES : place;
}

INLINE void FOR(load_pair)(FOR(vector_t) *pair, const void *values, int64_t place, int bf16) {
    if (bf16) {
        FOR(words_t) words = *(const FOR(words_t) *)((const uint16_t *)values + place);
        pair[0] = (FOR(vector_t))(words << 16);
        pair[1] = (FOR(vector_t))(words & 0xffff0000u);
    } else {
        pair[0] = *(const FOR(vector_t) *)((const float *)values + place);
        pair[1] = *(const FOR(vector_t) *)((const float *)values + place + LANES);
    }
}

INLINE void FOR(store_pair)(const FOR(vector_t) *pair, void *values, int64_t place, int bf16) {
    if (bf16) {
        FOR(words_t) words = FOR(rounded)(pair[0]) >> 16 | (FOR(rounded)(pair[1]) & 0xffff0000u);
        *(FOR(words_t) *)((uint16_t *)values + place) = words;
    } else {
        *(FOR(vector_t) *)((float *)values + place) = pair[0];
        *(FOR(vector_t) *)((float *)values + place + LANES) = pair[1];
    }
}

/* sum += rows `places` of `values` (, size), from output h on. */
INLINE void FOR(add_rows)(FOR(vector_t) *sum, const void *values, int64_t size, const int32_t *places, int64_t count, int64_t h,
                          int pairs, int bf16) {
    for (int64_t i = 0; i < count; i++)
        for (int p = 0; p < pairs; p++) {
            FOR(vector_t) pair[2];
            FOR(load_pair)(pair, values, places[i] * size + h + p * PAIR, bf16);
            sum[2 * p] += pair[0];
            sum[2 * p + 1] += pair[1];
        }
}

/* sum += factor * `values`, both in the tile's order. */
INLINE void FOR(add)(FOR(vector_t) *sum, float factor, const float *values, int pairs) {
    for (int v = 0; v < 2 * pairs; v++) sum[v] += factor * ((const FOR(vector_t) *)values)[v];
}

/* A chunk of a tile forwards: the products of all distinct rows, then the sums. */
INLINE void FOR(forward_chunk)(const linear_t *t, tile_t tile, int64_t h, int pairs, int bf16) {
    const int64_t size = tile.size, width = t->width, numbers = t->numbers;
    const float *turned = t->turned + tile.from * t->columns + h;
    void *products = (char *)t->near + worker * t->tile * t->found * (bf16 ? 2 : 4);
    for (int64_t field = 0; field < t->fields; field++)
        for (int64_t u = t->first[field]; u < t->first[field + 1]; u++) {
            const float *row = t->rows + u * width, *column = turned + field * width * size;
            FOR(vector_t) sum[2 * CHUNK] = {0};
            for (int64_t e = 0; e < width; e++) FOR(add)(sum, row[e], column + e * size, pairs);
            for (int p = 0; p < pairs; p++) FOR(store_pair)(sum + 2 * p, products, u * size + h + p * PAIR, bf16);
        }
    const float *column = turned + t->fields * width * size;
    const int64_t kept = tile.kept - h < pairs * PAIR ? tile.kept - h : pairs * PAIR, bytes = bf16 ? 2 : 4;
    const int far = t->found * size * bytes > 2 * CACHE; /* the core's own cache holds few of the products */
    float bias[CHUNK * PAIR] = {0}, left[CHUNK * PAIR] = {0};
    for (int64_t j = 0; t->bias && j < kept; j++) bias[FOR(lane)(j, bf16)] = t->bias[tile.from + h + j];
    for (int64_t b = 0; b < t->n; b++) {
        FOR(vector_t) sum[2 * CHUNK];
        for (int v = 0; v < 2 * pairs; v++) sum[v] = ((const FOR(vector_t) *)bias)[v];
        for (int64_t d = 0; d < numbers; d++) FOR(add)(sum, t->dense[b * numbers + d], column + d * size, pairs);
        for (int64_t f = 0; far && b + NEXT < t->n && f < t->fields; f++)
            for (int p = 0; p < pairs; p++)
                PREFETCH((const char *)products + (t->slot[(b + NEXT) * t->fields + f] * size + h + p * PAIR) * bytes);
        FOR(add_rows)(sum, products, size, t->slot + b * t->fields, t->fields, h, pairs, bf16);
        const int64_t place = b * t->outputs + tile.from + h;
        if (t->add) {
            const char *before = (const char *)t->out + place * bytes;
            if (kept < pairs * PAIR) before = memcpy(left, before, (size_t)(kept * bytes));
            for (int p = 0; p < pairs; p++) {
                FOR(vector_t) pair[2];
                FOR(load_pair)(pair, before, p * PAIR, bf16);
                sum[2 * p] += pair[0];
                sum[2 * p + 1] += pair[1];
            }
        }
        if (kept == pairs * PAIR) {
            for (int p = 0; p < pairs; p++) FOR(store_pair)(sum + 2 * p, t->out, place + p * PAIR, bf16);
        } else {
            for (int p = 0; p < pairs; p++) FOR(store_pair)(sum + 2 * p, left, p * PAIR, bf16);
            memcpy((char *)t->out + place * bytes, left, (size_t)(kept * bytes));
        }
    }
}

/* SIDE sums of values, each `stride` from the one before, or those that are left of them: stored, or added to what is there. */
INLINE void FOR(put)(const FOR(vector_t) (*sum)[2], float *target, int64_t stride, int64_t left, int vectors, int64_t count,
                     int add) {
    if (left >= SIDE && add) {
        for (int o = 0; o < SIDE; o++)
            for (int v = 0; v < vectors; v++)
                FOR(store)(sum[o][v] + FOR(load)(target, o * stride + v * LANES, count, 0), target, o * stride + v * LANES, count, 0);
    } else if (left >= SIDE) {
        for (int o = 0; o < SIDE; o++)
            for (int v = 0; v < vectors; v++) FOR(store)(sum[o][v], target, o * stride + v * LANES, count, 0);
    } else {
        for (int o = 0; o < left; o++)
            for (int v = 0; v < vectors; v++) {
                FOR(vector_t) value = sum[o][v];
                if (add) value += FOR(load)(target, o * stride + v * LANES, count, 0);
                FOR(store)(value, target, o * stride + v * LANES, count, 0);
            }
    }
}

/* The gradients that come from some distinct rows of a field, with their sums of the gradients of a chunk's outputs, of
 * `vectors` vectors of the rows' values from e on; the last one may be short. Beyond the last output, or row, that one is
 * summed again. */
INLINE void FOR(value_gradients)(const linear_t *t, const float *weight, float *gradient, int64_t kept, const float *rows,
                                 const float (*sums)[CHUNK * PAIR], int64_t found, int again, float *part, int beside,
                                 int64_t e, int vectors, int64_t count, int bf16) {
    FOR(vector_t) values[BLOCK][2], columns[CHUNK * PAIR][2];
    for (int64_t i = 0; i < found; i++)
        for (int v = 0; v < vectors; v++) values[i][v] = FOR(load)(rows, i * t->width + e + v * LANES, count, 0);
    for (int64_t j = 0; j < kept; j += SIDE) {
        FOR(vector_t) sum[SIDE][2] = {0};
        const float *of[SIDE];
        for (int o = 0; o < SIDE; o++) of[o] = sums[0] + FOR(lane)(j + o < kept ? j + o : kept - 1, bf16);
        for (int64_t i = 0; i < found; i++)
            for (int o = 0; o < SIDE; o++)
                for (int v = 0; v < vectors; v++) sum[o][v] += of[o][i * CHUNK * PAIR] * values[i][v];
        FOR(put)(sum, gradient + j * t->stride + e, t->stride, kept - j, vectors, count, again);
    }
    for (int64_t j = 0; j < kept; j++)
        for (int v = 0; v < vectors; v++)
            columns[FOR(lane)(j, bf16)][v] = FOR(load)(weight, j * t->stride + e + v * LANES, count, 0);
    for (int64_t i = 0; i < found; i += SIDE) {
        FOR(vector_t) sum[SIDE][2] = {0};
        const float *of[SIDE];
        for (int o = 0; o < SIDE; o++) of[o] = sums[i + o < found ? i + o : found - 1];
        for (int64_t j = 0; j < kept; j++)
            for (int o = 0; o < SIDE; o++)
                for (int v = 0; v < vectors; v++) sum[o][v] += of[o][FOR(lane)(j, bf16)] * columns[FOR(lane)(j, bf16)][v];
        FOR(put)(sum, part + i * t->width + e, t->width, found - i, vectors, count, beside);
    }
}

/* The same of all their values. `again`: the weight's gradient is added to; `beside`: `part` is. */
INLINE void FOR(field_gradients)(const linear_t *t, int64_t output, int64_t kept, int64_t column, const float *rows,
                                 const float (*sums)[CHUNK * PAIR], int64_t found, int again, float *part, int beside, int bf16) {
    const float *weight = t->weight + output * t->stride + column;
    float *gradient = t->weight_gradient + output * t->stride + column;
    int64_t e = 0;
    for (; e + 2 * LANES <= t->width; e += 2 * LANES)
        FOR(value_gradients)(t, weight, gradient, kept, rows, sums, found, again, part, beside, e, 2, LANES, bf16);
    for (; e + LANES <= t->width; e += LANES)
        FOR(value_gradients)(t, weight, gradient, kept, rows, sums, found, again, part, beside, e, 1, LANES, bf16);
    if (e < t->width)
        FOR(value_gradients)(t, weight, gradient, kept, rows, sums, found, again, part, beside, e, 1, t->width - e, bf16);
}

/* The gradients of a pair of outputs for `count` numbers from d on, which stay in registers. */
INLINE void FOR(number_gradients)(const linear_t *t, const void *near, int64_t size, int64_t place, int64_t d, int count,
                                  float *target, int64_t apart, int bf16) {
    FOR(vector_t) sum[AT_ONCE][2] = {0};
    const float *dense = t->dense + d;
    for (int64_t b = 0; b < t->n; b++, dense += t->numbers) {
        FOR(vector_t) pair[2];
        FOR(load_pair)(pair, near, b * size + place, bf16);
        for (int i = 0; i < count; i++)
            for (int v = 0; v < 2; v++) sum[i][v] += dense[i] * pair[v];
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < 2; v++) ((FOR(vector_t) *)(target + i * apart))[v] = sum[i][v];
}

/* A chunk of a tile backwards: the gradients of the weight's columns, and this chunk's part of those of the rows. */
INLINE void FOR(backward_chunk)(const linear_t *t, int64_t number, tile_t tile, int64_t h, int pairs, int bf16) {
    const int64_t size = tile.size, numbers = t->numbers, output = tile.from + h;
    const int64_t kept = tile.kept - h < pairs * PAIR ? tile.kept - h : pairs * PAIR;
    float *part = t->part + number * t->found * t->width;
    const void *near = (char *)t->near + worker * t->tile * t->n * (bf16 ? 2 : 4);
    float sums[BLOCK][CHUNK * PAIR];
    for (int64_t field = 0; field < t->fields; field++)
        for (int64_t from = t->first[field]; from < t->first[field + 1]; from += BLOCK) {
            int64_t found = t->first[field + 1] - from < BLOCK ? t->first[field + 1] - from : BLOCK;
            for (int64_t i = 0; i < found; i++) {
                int64_t u = from + i, stop = u + 1 < t->found ? t->starts[u + 1] : t->n * t->fields;
                FOR(vector_t) sum[2 * CHUNK] = {0};
                FOR(add_rows)(sum, near, size, t->at + t->starts[u], stop - t->starts[u], h, pairs, bf16);
                for (int v = 0; v < 2 * pairs; v++) ((FOR(vector_t) *)sums[i])[v] = sum[v];
            }
            FOR(field_gradients)(t, output, kept, t->column[field], t->rows + from * t->width,
                                 (const float(*)[CHUNK * PAIR])sums, found, from > t->first[field], part + from * t->width,
                                 h > 0, bf16);
        }
    float bias[CHUNK * PAIR], *of_numbers = t->number_gradient + output * numbers; /* (D, chunk) */
    for (int p = 0; p < pairs; p++) {
        FOR(vector_t) *total = (FOR(vector_t) *)bias + 2 * p;
        total[0] = total[1] = (FOR(vector_t)){0};
        if (t->bias_gradient)
            for (int64_t b = 0; b < t->n; b++) FOR(add_rows)(total, near, size, &(int32_t){(int32_t)b}, 1, h + p * PAIR, 1, bf16);
        float *target = of_numbers + p * PAIR;
        const int64_t apart = pairs * PAIR;
        int64_t d = 0;
        for (; d + AT_ONCE <= numbers; d += AT_ONCE)
            FOR(number_gradients)(t, near, size, h + p * PAIR, d, AT_ONCE, target + d * apart, apart, bf16);
        for (; d < numbers; d++) FOR(number_gradients)(t, near, size, h + p * PAIR, d, 1, target + d * apart, apart, bf16);
    }
    for (int64_t j = 0; j < kept; j++) {
        float *target = t->weight_gradient + (output + j) * t->stride + t->column[t->fields];
        for (int64_t d = 0; d < numbers; d++) target[d] = of_numbers[d * pairs * PAIR + FOR(lane)(j, bf16)];
        if (t->bias_gradient) t->bias_gradient[output + j] = bias[FOR(lane)(j, bf16)];
    }
}

INLINE void FOR(forward_tile)(const linear_t *task, int64_t number, int bf16) {
    const linear_t local = *task, *t = &local; /* of which the compiler knows that no value written changes it */
    const tile_t tile = tile_of(t, number);
    float *turned = t->turned + tile.from * t->columns;
    for (int64_t from = 0; from < tile.size; from += LANES) {
        const float *source[LANES];
        for (int i = 0; i < LANES; i++) {
            int64_t j = FOR(output_at)(from + i, bf16);
            source[i] = t->weight + (tile.from + (j < tile.kept ? j : tile.kept - 1)) * t->stride; /* one too many: unused */
        }
        float *target = turned + from;
        for (int64_t field = 0; field <= t->fields; field++)
            for (int64_t k = 0; k < (field < t->fields ? t->width : t->numbers); k++, target += tile.size) {
                FOR(vector_t) column;
                for (int i = 0; i < LANES; i++) column[i] = source[i][t->column[field] + k];
                *(FOR(vector_t) *)target = column;
            }
    }
    int64_t h = 0;
    for (; h + CHUNK * PAIR <= tile.size; h += CHUNK * PAIR) FOR(forward_chunk)(t, tile, h, CHUNK, bf16);
    for (; h < tile.size; h += FILL) FOR(forward_chunk)(t, tile, h, FILL / PAIR, bf16);
}

INLINE void FOR(backward_tile)(const linear_t *task, int64_t number, int bf16) {
    const linear_t local = *task, *t = &local;
    const tile_t tile = tile_of(t, number);
    const int bytes = bf16 ? 2 : 4;
    char *near = (char *)t->near + worker * t->tile * t->n * bytes;
    for (int64_t b = 0; b < t->n; b++) {
        memcpy(near + b * tile.size * bytes, (char *)t->out + (b * t->outputs + tile.from) * bytes, (size_t)(tile.kept * bytes));
        memset(near + (b * tile.size + tile.kept) * bytes, 0, (size_t)((tile.size - tile.kept) * bytes));
    }
    int64_t h = 0;
    for (; h + CHUNK * PAIR <= tile.size; h += CHUNK * PAIR) FOR(backward_chunk)(t, number, tile, h, CHUNK, bf16);
    for (; h < tile.size; h += FILL) FOR(backward_chunk)(t, number, tile, h, FILL / PAIR, bf16);
}

static void FOR(forward_work)(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t number = begin; number < end; number++) {
        if (t->bf16) FOR(forward_tile)(t, number, 1);
        else FOR(forward_tile)(t, number, 0);
    }
}

static void FOR(backward_work)(const void *task, int64_t begin, int64_t end) {
    const linear_t *t = task;
    for (int64_t number = begin; number < end; number++) {
        if (t->bf16) FOR(backward_tile)(t, number, 1);
        else FOR(backward_tile)(t, number, 0);
    }
}
