/* Lists of int32 values, one after the other. */
#include "share.h"

/* out: list i of n is the values from starts[i] on, and lies from offsets[i] up to offsets[i + 1].
 * Whether all of them lie within the `size` values there are; nothing is written of one that does not. */
int gather_lists(const int32_t *values, int64_t size, const int64_t *starts, const int64_t *offsets, int64_t n, int32_t *out) {
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n && starts[i + AHEAD] >= 0 && starts[i + AHEAD] < size) PREFETCH(values + starts[i + AHEAD]);
        const int64_t length = offsets[i + 1] - offsets[i];
        if (length < 0 || starts[i] < 0 || length > size - starts[i]) return 0;
        memcpy(out + offsets[i], values + starts[i], (size_t)length * sizeof *out);
    }
    return 1;
}
