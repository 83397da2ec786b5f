/* Which of some distinct values each of many is, and which of many are distinct: a hash table with open addressing.
 *
 * Values are as Arrow keeps them, one after the other. Texts: the bytes from offsets[i] up to offsets[i + 1]. Where there are
 * no offsets, each value is a number of eight bytes.
 */
#include "share.h"

#define TOGETHER 32 /* values whose places in the table are fetched at once */

typedef struct {
    uint32_t tag; /* of the hash, so that most values are compared but once */
    int32_t place; /* negative: nothing is here */
} slot_t;

/* Where value i starts. */
static inline int64_t start_of(const int64_t *offsets, int64_t i) { return offsets ? offsets[i] : 8 * i; }

static inline uint64_t mixed(uint64_t hash) {
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* The caller draws the seed, so that nobody can make values that all fall together. */
static uint64_t hash_of(const uint8_t *value, int64_t length, uint64_t seed) {
    uint64_t hash = mixed(seed + (uint64_t)length), word = 0;
    for (; length > 8; value += 8, length -= 8) {
        memcpy(&word, value, 8);
        hash = mixed(hash ^ word);
    }
    if (length >= 4) {
        uint32_t front, back; /* which may overlap */
        memcpy(&front, value, 4);
        memcpy(&back, value + length - 4, 4);
        word = front | (uint64_t)back << 32;
    } else {
        word = length ? value[0] | (uint64_t)value[length / 2] << 8 | (uint64_t)value[length - 1] << 16 : 0;
    }
    return mixed(mixed(hash ^ word));
}

/* The hashes of the next values, whose places in the table are fetched; how many these are. */
static inline int64_t hash_some(const int64_t *offsets, const uint8_t *data, int64_t from, int64_t n, uint64_t seed,
                                const slot_t *slots, uint64_t mask, uint64_t *hashes) {
    const int64_t count = n - from < TOGETHER ? n - from : TOGETHER;
    for (int64_t i = 0; i < count; i++) {
        const int64_t start = start_of(offsets, from + i);
        hashes[i] = hash_of(data + start, start_of(offsets, from + i + 1) - start, seed);
        PREFETCH(slots + (hashes[i] & mask));
    }
    return count;
}

/* Fill `slots`, of which there are `size`, a power of two and more than n. */
void index_values(const int64_t *offsets, const uint8_t *data, int64_t n, uint64_t seed, slot_t *slots, int64_t size) {
    const uint64_t mask = (uint64_t)size - 1;
    for (int64_t i = 0; i < size; i++) slots[i].place = -1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t start = start_of(offsets, i);
        const uint64_t hash = hash_of(data + start, start_of(offsets, i + 1) - start, seed);
        uint64_t at = hash & mask;
        while (slots[at].place >= 0) at = (at + 1) & mask;
        slots[at] = (slot_t){(uint32_t)(hash >> 32), (int32_t)i};
    }
}

/* out (n,): the place of each value among the known ones that `slots` were filled from; -1 where it is none of them. */
void find_values(const int64_t *offsets, const uint8_t *data, int64_t n, const int64_t *known_offsets, const uint8_t *known,
                uint64_t seed, const slot_t *slots, int64_t size, int32_t *out) {
    const uint64_t mask = (uint64_t)size - 1;
    uint64_t hashes[TOGETHER];
    for (int64_t from = 0; from < n; from += TOGETHER) {
        const int64_t count = hash_some(offsets, data, from, n, seed, slots, mask, hashes);
        for (int64_t i = 0; i < count; i++) {
            const uint8_t *value = data + start_of(offsets, from + i);
            const int64_t length = start_of(offsets, from + i + 1) - start_of(offsets, from + i);
            uint64_t at = hashes[i] & mask;
            for (; slots[at].place >= 0; at = (at + 1) & mask) {
                if (slots[at].tag != (uint32_t)(hashes[i] >> 32)) continue;
                const int64_t start = start_of(known_offsets, slots[at].place), stop = start_of(known_offsets, slots[at].place + 1);
                if (stop - start == length && memcmp(known + start, value, (size_t)length) == 0) break;
            }
            out[from + i] = slots[at].place;
        }
    }
}

/* Number the distinct ones of n values, n_known of which are known already: their numbers are their places. codes (n,): the
 * number of each. first: where each new one, by rising number, is met first. How many are new. `slots` hold the known ones,
 * and have room for n more. */
int64_t number_values(const int64_t *offsets, const uint8_t *data, int64_t n, const int64_t *known_offsets,
                     const uint8_t *known, int64_t n_known, uint64_t seed, slot_t *slots, int64_t size, int32_t *codes,
                     int64_t *first) {
    const uint64_t mask = (uint64_t)size - 1;
    uint64_t hashes[TOGETHER];
    int64_t found = 0;
    for (int64_t from = 0; from < n; from += TOGETHER) {
        const int64_t count = hash_some(offsets, data, from, n, seed, slots, mask, hashes);
        for (int64_t i = 0; i < count; i++) {
            const uint8_t *value = data + start_of(offsets, from + i);
            const int64_t length = start_of(offsets, from + i + 1) - start_of(offsets, from + i);
            const uint32_t tag = (uint32_t)(hashes[i] >> 32);
            uint64_t at = hashes[i] & mask;
            for (; slots[at].place >= 0; at = (at + 1) & mask) {
                if (slots[at].tag != tag) continue;
                const int64_t place = slots[at].place, new = place - n_known;
                const int64_t *bounds = new < 0 ? known_offsets : offsets, which = new < 0 ? place : first[new];
                const int64_t start = start_of(bounds, which), stop = start_of(bounds, which + 1);
                if (stop - start == length && memcmp((new < 0 ? known : data) + start, value, (size_t)length) == 0) break;
            }
            if (slots[at].place < 0) {
                slots[at] = (slot_t){tag, (int32_t)(n_known + found)};
                first[found++] = from + i;
            }
            codes[from + i] = slots[at].place;
        }
    }
    return found;
}
