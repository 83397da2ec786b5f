/* LANES floats at a time: included by the loops of each kind of processor (see kinds.h). */

typedef float FOR(vector_t) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t FOR(words_t) __attribute__((vector_size(LANES * 4), aligned(2), may_alias));
typedef uint16_t FOR(halves_t) __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

/* The first `count` of a vector's values, from memory; the others are zero. */
INLINE FOR(vector_t) FOR(load)(const void *values, int64_t place, int64_t count, int half) {
    FOR(vector_t) value = {0};
    if (half) {
        FOR(halves_t) halves = {0};
        if (count == LANES) halves = *(const FOR(halves_t) *)((const uint16_t *)values + place);
        else memcpy(&halves, (const uint16_t *)values + place, sizeof(uint16_t) * (size_t)count);
        FOR(words_t) words = __builtin_convertvector(halves, FOR(words_t)) << 16;
        memcpy(&value, &words, sizeof value);
    } else if (count == LANES) {
        value = *(const FOR(vector_t) *)((const float *)values + place);
    } else {
        memcpy(&value, (const float *)values + place, sizeof(float) * (size_t)count);
    }
    return value;
}

/* bfloat16, the upper half of a float: to the nearest, ties to even; not a number stays one. The lower half is of no use. */
INLINE FOR(words_t) FOR(rounded)(FOR(vector_t) value) {
    FOR(words_t) words = (FOR(words_t))value, no_number = (FOR(words_t))((words & 0x7fffffffu) > 0x7f800000u);
    return (no_number & 0x7fc00000u) | (~no_number & (words + 0x7fffu + (words >> 16 & 1)));
}

INLINE void FOR(store)(FOR(vector_t) value, void *values, int64_t place, int64_t count, int half) {
    if (half) {
        FOR(halves_t) halves = __builtin_convertvector(FOR(rounded)(value) >> 16, FOR(halves_t));
        memcpy((uint16_t *)values + place, &halves, sizeof(uint16_t) * (size_t)count);
    } else {
        memcpy((float *)values + place, &value, sizeof(float) * (size_t)count);
    }
}
