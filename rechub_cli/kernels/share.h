/* What the loops share: how they are built, and how threads divide their work. */
#ifndef SHARE_H
#define SHARE_H

#include <stdint.h>
#include <string.h>

/* Built once, for processors with and without wide vectors; the right one is chosen where it runs. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define VECTORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define KINDS
#else
#define VECTORS
#endif
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#define HIDDEN __attribute__((visibility("hidden")))
#define INLINE static inline __attribute__((always_inline))
#else
#define PREFETCH(address)
#define HIDDEN
#define INLINE static inline
#endif

#define AHEAD 12 /* rows that are fetched before they are needed */
#define ROWS 256 /* rows that a thread takes at once */

static inline void fetch(const float *row, int64_t width) {
    for (int64_t e = 0; e < width; e += 16) PREFETCH(row + e);
}

#define WHOLE 16 /* floats: the widest vector */

static inline int64_t whole(int64_t width) { return (width + WHOLE - 1) / WHOLE * WHOLE; }

/* Whether the offsets of n rows rise from 0 to `values`. */
static inline int in_order(const int64_t *offsets, int64_t n, int64_t values) {
    int right = offsets[0] == 0 && offsets[n] == values;
    for (int64_t b = 0; b < n; b++) right &= offsets[b] <= offsets[b + 1];
    return right;
}

/* Which of the threads that share some work this one is: from 0, and fewer than there are items. */
extern _Thread_local int64_t worker HIDDEN;

/* Threads take the next `grain` of `n` items until none is left. */
void share(void (*work)(const void *task, int64_t begin, int64_t end), const void *task, int64_t n, int64_t grain,
           int threads) HIDDEN;

#endif
