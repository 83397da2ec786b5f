/* Causal self-attention over jagged histories: an event attends to itself and to those before it in its row, head by head.
 *
 * Some queries at a time see the keys up to the last of them. The gradient makes their chances anew: nothing is kept that
 * grows with the square of a history.
 *
 * Shape legend: n rows of the batch, N events of them all, E their width, D that of a head, L events of a row.
 */
#include "share.h"

#include <math.h>

#define QUERIES 16 /* at a time */

typedef struct {
    const int64_t *offsets; /* (n + 1,) */
    int64_t heads, width, longest, size; /* width: D; longest: L of any row; size: floats of `near` for a thread */
    const float *packed, *gradient;      /* (N, 3E): queries, keys, values; of `out` */
    float *near, *out;                   /* out: (N, E); or (N, 3E), the gradient of `packed` */
} causal_t;

#define LOOPS "causal.h"
#include "kinds.h"

/* Floats of `near` for one thread; -1 where the offsets are none. Writes the longest row's length. */
int64_t causal_near(const int64_t *offsets, int64_t n, int64_t count, int64_t width, int backward, int64_t *longest) {
    if (!in_order(offsets, n, count)) return -1;
    *longest = 0;
    for (int64_t b = 0; b < n; b++)
        if (offsets[b + 1] - offsets[b] > *longest) *longest = offsets[b + 1] - offsets[b];
    const int64_t straight = *longest * whole(width), turned = width * whole(*longest), scores = QUERIES * whole(*longest);
    return backward ? 3 * straight + 2 * turned + 2 * scores + 2 * QUERIES * whole(width) : straight + turned + scores;
}

/* out (N, heads * width). `near`: (threads, size), as `causal_near` said. */
void causal_forward(const int64_t *offsets, int64_t n, int64_t longest, int64_t heads, int64_t width, const float *packed,
                    int64_t size, float *near, float *out, int threads) {
    causal_t t = {offsets, heads, width, longest, size, packed, NULL, near, out};
    share(BEST(causal_forward), &t, n * heads, 1, threads);
}

/* The gradient of `packed` (N, 3 * heads * width). */
void causal_gradients(const int64_t *offsets, int64_t n, int64_t longest, int64_t heads, int64_t width, const float *packed,
                      const float *gradient, int64_t size, float *near, float *packed_gradient, int threads) {
    causal_t t = {offsets, heads, width, longest, size, packed, gradient, near, packed_gradient};
    share(BEST(causal_backward), &t, n * heads, 1, threads);
}
