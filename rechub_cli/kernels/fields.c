/* The rows that a batch looks up, and their gradients.
 *
 * Shape legend: B rows of a batch, F fields, K of which are kept, E width of a table's rows, U distinct ones among the B * F.
 */
#include "share.h"

static int64_t highest(const int32_t *ids, int64_t n) {
    uint32_t found = 0; /* a negative id counts as a great one */
    for (int64_t i = 0; i < n; i++) found = (uint32_t)ids[i] > found ? (uint32_t)ids[i] : found;
    return found;
}

typedef struct {
    const int32_t *ids;
    int64_t fields, width, n; /* n: of ids */
    const int32_t *place;     /* (F,) of each field among the kept ones, rising; negative for none. NULL: all are kept */
    int64_t kept;
    const float *table;
    void *out; /* (B, K, E) */
    int half;
    float *total, *interaction; /* (B, E), or NULL; no interaction without the total */
} lookup_t;

typedef struct {
    const int64_t *rows, *order, *starts;
    int64_t n, found, fields, width;
    const int32_t *place; /* as above */
    int64_t kept;
    const void *gradient; /* (B, K, E) */
    int half;
    const float *of_total, *of_interaction; /* as above */
    const float *table;
    float *out;
} segments_t;

#define LOOPS "fields.h"
#include "kinds.h"

/* out (B, K, E) = table[ids] of the kept fields, in bf16 where `half`; `total` and `interaction` (B, E) of all fields, where
 * wanted: the sum over the fields, and see `nn.fm`. -1 where an id is outside the table, which then was not read. */
int look_up_fields(const int32_t *ids, int64_t size, int64_t fields, int64_t width, const int32_t *place, int64_t kept,
                   const float *table, int64_t height, void *out, int half, float *total, float *interaction, int threads) {
    if (size * fields && highest(ids, size * fields) >= height) return -1;
    lookup_t task = {ids, fields, width, size * fields, place, kept, table, out, half, total, interaction};
    share(BEST(look_up_work), &task, fields ? size : 0, fields ? 4 * ROWS / fields + 1 : 1, threads);
    return 0;
}

/* out (U, E): for each distinct row the gradients of its occurrences, summed in their order. `gradient` (B, K, E), bf16 where
 * `half`. `of_total` (B, E), the gradient of the sum over the fields, is added to each. Where there is an interaction, whose
 * gradient is g (B, E): g * total, and g, of which an occurrence's row is taken apart. */
void sum_gradients(const int64_t *rows, const int64_t *order, int64_t n, const int64_t *starts, int64_t found,
                   int64_t fields, int64_t width, const int32_t *place, int64_t kept, const void *gradient, int half,
                   const float *of_total, const float *of_interaction, const float *table, float *out, int threads) {
    segments_t task = {rows,     order, starts, n,    found,          fields,   width, place,
                       kept, gradient, half,   of_total, of_interaction, table, out};
    share(BEST(sum_work), &task, found, ROWS, threads);
}
