/* Dropout: a byte for each value, made of a seed and the value's place, tells whether it is kept; so a gradient finds it again.
 *
 * Eight bytes are one number of splitmix64's finaliser (Steele, Lea, Flood 2014).
 */
#include "halves.h"
#include "share.h"

#define PIECE 64 /* values at a time */

typedef struct {
    const void *x; /* (n,) */
    int half, dropped;
    int64_t n;
    uint64_t seed;
    float scale;
    void *out; /* (n,) */
} dropout_t;

INLINE uint64_t mixed(uint64_t word) {
    word += 0x9E3779B97F4A7C15u;
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

INLINE void pieces(const dropout_t *t, int64_t begin, int64_t end, int half) {
    const void *restrict x = t->x;
    void *restrict out = t->out;
    const float scale = t->scale;
    const int dropped = t->dropped;
    for (int64_t piece = begin; piece < end; piece++) {
        uint64_t words[PIECE / 8];
        for (int w = 0; w < PIECE / 8; w++) words[w] = mixed(t->seed + (uint64_t)(piece * (PIECE / 8) + w));
        const uint8_t *bytes = (const uint8_t *)words;
        const int64_t from = piece * PIECE, count = t->n - from < PIECE ? t->n - from : PIECE;
        for (int64_t i = 0; i < count; i++) put(get(x, from + i, half) * (bytes[i] >= dropped ? scale : 0), out, from + i, half);
    }
}

VECTORS static void dropout_work(const void *task, int64_t begin, int64_t end) {
    const dropout_t *t = task;
    if (t->half) pieces(t, begin, end, 1);
    else pieces(t, begin, end, 0);
}

/* out = x, times 256 / (256 - dropped) where the value's byte is at least `dropped`, and times 0 elsewhere. */
void drop_values(const void *x, int half, int64_t n, uint64_t seed, int dropped, void *out, int threads) {
    dropout_t t = {x, half, dropped, n, seed, 256.0f / (float)(256 - dropped), out};
    share(dropout_work, &t, (n + PIECE - 1) / PIECE, ROWS, threads);
}
