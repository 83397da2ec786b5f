/* Values that are floats or bf16, one by one, for loops that the compiler makes vectors of. */
#ifndef HALVES_H
#define HALVES_H

#include "share.h"

typedef union {
    float value;
    uint32_t bits;
} word_t;

/* A value of floats, or of bf16 where `half`. */
INLINE float get(const void *values, int64_t at, int half) {
    if (!half) return ((const float *)values)[at];
    return (word_t){.bits = (uint32_t)((const uint16_t *)values)[at] << 16}.value;
}

/* bfloat16: to the nearest, ties to even; not a number stays one. */
INLINE void put(float value, void *values, int64_t at, int half) {
    if (!half) {
        ((float *)values)[at] = value;
    } else {
        const uint32_t bits = (word_t){.value = value}.bits, rounded = bits + 0x7fffu + (bits >> 16 & 1);
        ((uint16_t *)values)[at] = (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : rounded) >> 16);
    }
}

#endif
