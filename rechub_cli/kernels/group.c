/* Bringing equal ids together. */
#include "share.h"

#include <stdlib.h>

#define DIGIT 11
#define BINS (1 << DIGIT)

/* Sort `n` keys by `bits` of their bits from 32 on, stable; `spare` is as long. Returns where they then lie. */
static uint64_t *sort_keys(uint64_t *keys, uint64_t *spare, int64_t n, int bits) {
    int passes = (bits + DIGIT - 1) / DIGIT, digit = passes ? (bits + passes - 1) / passes : 0;
    uint64_t mask = ((uint64_t)1 << digit) - 1;
    for (int pass = 0; pass < passes; pass++) {
        int shift = 32 + pass * digit;
        int64_t place[BINS] = {0}, total = 0;
        for (int64_t i = 0; i < n; i++) place[keys[i] >> shift & mask]++;
        for (uint64_t b = 0; b <= mask; b++) {
            int64_t count = place[b];
            place[b] = total;
            total += count;
        }
        for (int64_t i = 0; i < n; i++) spare[place[keys[i] >> shift & mask]++] = keys[i];
        uint64_t *swap = keys;
        keys = spare;
        spare = swap;
    }
    return keys;
}

static int bits_of(uint32_t value) {
    int bits = 0;
    while (value >> bits) bits++;
    return bits;
}

typedef struct {
    const int32_t *ids, *low, *high; /* low and high: of each column */
    int64_t size, fields;
    int64_t *order, *rows, *starts, *found;
} columns_t;

/* Group some columns; column f writes from f * size on, and how many distinct ids it found, or -1 without memory. */
static void columns_work(const void *task, int64_t begin, int64_t end) {
    const columns_t *t = task;
    const int64_t size = t->size, fields = t->fields;
    uint64_t *keys = malloc(sizeof(uint64_t) * (size_t)size * 2);
    for (int64_t f = begin; f < end; f++) {
        t->found[f] = -1;
        if (keys == NULL) continue;
        for (int64_t i = 0; i < size; i++)
            keys[i] = (uint64_t)(uint32_t)(t->ids[i * fields + f] - t->low[f]) << 32 | (uint64_t)i;
        uint64_t *sorted = sort_keys(keys, keys + size, size, bits_of((uint32_t)(t->high[f] - t->low[f])));
        int64_t *order = t->order + f * size, *rows = t->rows + f * size, *starts = t->starts + f * size, found = 0;
        for (int64_t i = 0; i < size; i++) {
            order[i] = (int64_t)(sorted[i] & 0xffffffffu) * fields + f;
            if (i == 0 || sorted[i] >> 32 != sorted[i - 1] >> 32) {
                rows[found] = (int64_t)(sorted[i] >> 32) + t->low[f];
                starts[found++] = f * size + i;
            }
        }
        t->found[f] = found;
    }
    free(keys);
}

/* Columns whose ids lie one column after the other are sorted by themselves, each in a core's cache. Returns -1 where they
 * do not, or without memory. */
static int64_t group_columns(const int32_t *ids, int64_t size, int64_t fields, int64_t *order, int64_t *rows,
                             int64_t *starts, int threads) {
    int32_t *low = malloc(sizeof(int32_t) * (size_t)fields * 2), *high = low + fields;
    int64_t *found = malloc(sizeof(int64_t) * (size_t)fields), total = -1, apart = low != NULL && found != NULL;
    if (apart) {
        memcpy(low, ids, sizeof(int32_t) * (size_t)fields);
        memcpy(high, ids, sizeof(int32_t) * (size_t)fields);
        for (int64_t i = 1; i < size; i++)
            for (int64_t f = 0; f < fields; f++) {
                int32_t id = ids[i * fields + f];
                low[f] = id < low[f] ? id : low[f];
                high[f] = id > high[f] ? id : high[f];
            }
        for (int64_t f = 1; f < fields; f++) apart &= high[f - 1] < low[f];
    }
    if (apart && low[0] >= 0) {
        columns_t task = {ids, low, high, size, fields, order, rows, starts, found};
        share(columns_work, &task, fields, 1, threads);
        total = 0;
        for (int64_t f = 0; f < fields && total >= 0; f++) {
            if (found[f] < 0) {
                total = -1;
                break;
            }
            memmove(rows + total, rows + f * size, sizeof(int64_t) * (size_t)found[f]);
            memmove(starts + total, starts + f * size, sizeof(int64_t) * (size_t)found[f]);
            total += found[f];
        }
    }
    free(low);
    free(found);
    return total;
}

/* Occurrences (n,) by rising id, stable; the ids are rows of so many `fields`. Writes `order` (n,), `rows` and `starts` (U,);
 * returns U, or -1 without memory or where an id is negative. */
int64_t group_ids(const int32_t *ids, int64_t n, int64_t fields, int64_t *order, int64_t *rows, int64_t *starts,
                  int threads) {
    if (n == 0) return 0;
    if (fields > 1) {
        int64_t found = group_columns(ids, n / fields, fields, order, rows, starts, threads);
        if (found >= 0) return found;
    }
    int32_t top = 0;
    for (int64_t i = 0; i < n; i++) top |= ids[i];
    if (top < 0) return -1;
    uint64_t *keys = malloc(sizeof(uint64_t) * (size_t)n * 2);
    if (keys == NULL) return -1;
    for (int64_t i = 0; i < n; i++) keys[i] = (uint64_t)(uint32_t)ids[i] << 32 | (uint64_t)i;
    const uint64_t *sorted = sort_keys(keys, keys + n, n, bits_of((uint32_t)top));
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t id = (int64_t)(sorted[i] >> 32);
        order[i] = (int64_t)(sorted[i] & 0xffffffffu);
        if (found == 0 || rows[found - 1] != id) {
            rows[found] = id;
            starts[found++] = i;
        }
    }
    free(keys);
    return found;
}
