/* Loops over looked-up rows, for one kind of processor (see kinds.h). */

#include "vectors.h"

/* Some values of the fields of one row of the batch. */
INLINE void FOR(look_up)(const lookup_t *t, int64_t row, int64_t from, int64_t count, int half, int add_up) {
    FOR(vector_t) sum = {0}, squares = {0};
    int64_t place = row * t->kept;
    for (int64_t i = row * t->fields; i < (row + 1) * t->fields; i++) {
        if (i + AHEAD < t->n) PREFETCH(t->table + t->ids[i + AHEAD] * t->width + from);
        FOR(vector_t) values = FOR(load)(t->table, t->ids[i] * t->width + from, count, 0);
        if (!t->place || t->place[i - row * t->fields] >= 0) FOR(store)(values, t->out, place++ * t->width + from, count, half);
        if (add_up) {
            sum += values;
            squares += values * values;
        }
    }
    if (add_up) FOR(store)(sum, t->total, row * t->width + from, count, 0);
    if (add_up && t->interaction) FOR(store)(0.5f * (sum * sum - squares), t->interaction, row * t->width + from, count, 0);
}

/* Which of the kept rows an occurrence is; negative for none. */
INLINE int64_t FOR(kept_at)(const segments_t *t, int64_t i) {
    if (!t->place) return t->order[i];
    const int64_t row = (uint32_t)t->order[i] / (uint32_t)t->fields, place = t->place[t->order[i] - row * t->fields];
    return place < 0 ? place : row * t->kept + place;
}

/* Some values of the gradients of one distinct row, summed. */
INLINE void FOR(sum)(const segments_t *t, int64_t u, int64_t from, int64_t count, int half, int added_up) {
    FOR(vector_t) sum = {0}, weight = {0};
    const int64_t width = t->width, stop = u + 1 < t->found ? t->starts[u + 1] : t->n;
    for (int64_t i = t->starts[u]; i < stop; i++) {
        if (t->kept && i + AHEAD < t->n) PREFETCH((const char *)t->gradient + (FOR(kept_at)(t, i + AHEAD) * width + from) * (half ? 2 : 4));
        const int64_t kept = FOR(kept_at)(t, i);
        if (kept >= 0) sum += FOR(load)(t->gradient, kept * width + from, count, half);
        if (added_up) {
            int64_t place = (uint32_t)t->order[i] / (uint32_t)t->fields * width + from;
            sum += FOR(load)(t->of_total, place, count, 0);
            if (t->of_interaction) weight += FOR(load)(t->of_interaction, place, count, 0);
        }
    }
    if (added_up && t->of_interaction) sum -= weight * FOR(load)(t->table, t->rows[u] * width + from, count, 0);
    FOR(store)(sum, t->out, u * width + from, count, 0);
}

/* All values, a vector at a time. */
#define SPANS(function, task, item, half, extra)                                                    \
    do {                                                                                            \
        int64_t from = 0, left = (task)->width % LANES;                                             \
        for (; from + LANES <= (task)->width; from += LANES) function(task, item, from, LANES, half, extra); \
        if (left == 1) function(task, item, from, 1, half, extra);                                  \
        else if (left == 4) function(task, item, from, 4, half, extra);                             \
        else if (left == 8) function(task, item, from, 8, half, extra);                             \
        else if (left) function(task, item, from, left, half, extra);                               \
    } while (0)

static void FOR(look_up_work)(const void *task, int64_t begin, int64_t end) {
    const lookup_t *t = task;
    for (int64_t row = begin; row < end; row++) {
        if (t->half && t->total) SPANS(FOR(look_up), t, row, 1, 1);
        else if (t->half) SPANS(FOR(look_up), t, row, 1, 0);
        else if (t->total) SPANS(FOR(look_up), t, row, 0, 1);
        else SPANS(FOR(look_up), t, row, 0, 0);
    }
}

static void FOR(sum_work)(const void *task, int64_t begin, int64_t end) {
    const segments_t *t = task;
    for (int64_t u = begin; u < end; u++) {
        if (t->of_interaction && u + AHEAD < t->found) fetch(t->table + t->rows[u + AHEAD] * t->width, t->width);
        if (t->half && t->of_total) SPANS(FOR(sum), t, u, 1, 1);
        else if (t->half) SPANS(FOR(sum), t, u, 1, 0);
        else if (t->of_total) SPANS(FOR(sum), t, u, 0, 1);
        else SPANS(FOR(sum), t, u, 0, 0);
    }
}

#undef SPANS
