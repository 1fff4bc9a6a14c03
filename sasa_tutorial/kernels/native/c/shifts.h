/* The two loops that everything is made of. Both look from two neighbouring rows of pixels at once, so that what is loaded
 * is used twice, at `count` rows of numbers, `pitch` apart, and in each at `width` places side by side: the cells that one
 * or the other row of pixels has in its windows. A cell that only one of them has counts for the other as weight 0 in the
 * second loop, and its sum from the first is not read. With `two` = 0 there is only one row of pixels. */
#pragma once
#include "vectors.h"

typedef struct {
    long plane, pitch, width; /* from channel to channel, from row to row, cells side by side */
} layout;

/* cells[row][y, b] += sum over channels of pixels[row][c] times shifted[c, y, b]: products of queries and keys. */
INLINE void dots_of(vec *cells0, vec *cells1, const REAL *pixels0, const REAL *pixels1, const REAL *shifted, long count,
                    layout l, const int channels, const int two) {
    vec first[BLOCK], second[BLOCK];
    for (int c = 0; c < channels; c++) {
        first[c] = load(pixels0 + c * l.plane);
        if (two) second[c] = load(pixels1 + c * l.plane);
    }
    for (long y = 0; y < count; y++, shifted += l.pitch, cells0 += l.width, cells1 += l.width)
        for (long b = 0; b < l.width; b++) {
            vec sum0 = cells0[b], sum1 = two ? cells1[b] : all(0);
#pragma GCC unroll 8
            for (int c = 0; c < channels; c++) {
                vec there = load(shifted + c * l.plane + b);
                IN_REGISTER(there);
                sum0 += first[c] * there;
                if (two) sum1 += second[c] * there;
            }
            cells0[b] = sum0;
            if (two) cells1[b] = sum1;
        }
}

/* out[row][c] = sum over cells of weight[row][y, b] times shifted[c, y, b]: values under their weights. The weights of a
 * row of cells begin at weights[row][y], `step` apart. */
INLINE void mix_of(REAL *out0, REAL *out1, const REAL *const *weights0, const REAL *const *weights1, long step,
                   const REAL *shifted, long count, layout l, const int channels, const int two) {
    vec first[BLOCK], second[BLOCK];
    for (int c = 0; c < channels; c++) first[c] = second[c] = all(0);
    for (long y = 0; y < count; y++, shifted += l.pitch) {
        const REAL *from0 = weights0[y], *from1 = two ? weights1[y] : NULL;
        for (long b = 0; b < l.width; b++) {
            const vec weight0 = load(from0 + b * step), weight1 = two ? load(from1 + b * step) : all(0);
#pragma GCC unroll 8
            for (int c = 0; c < channels; c++) {
                vec there = load(shifted + c * l.plane + b);
                IN_REGISTER(there);
                first[c] += weight0 * there;
                if (two) second[c] += weight1 * there;
            }
        }
    }
    for (int c = 0; c < channels; c++) {
        store(out0 + c * l.plane, first[c]);
        if (two) store(out1 + c * l.plane, second[c]);
    }
}

/* All channels, as many at a time as the registers hold. The pixels' rows are `pitch` apart, too. */
INLINE void dots(vec *const cells[2], const REAL *pixels, const REAL *shifted, long count, layout l, long d, const int two) {
    long c = 0;
    for (; c + BLOCK <= d; c += BLOCK)
        dots_of(cells[0], cells[1], pixels + c * l.plane, pixels + c * l.plane + l.pitch, shifted + c * l.plane, count, l,
                BLOCK, two);
    for (; c + BLOCK / 2 <= d; c += BLOCK / 2)
        dots_of(cells[0], cells[1], pixels + c * l.plane, pixels + c * l.plane + l.pitch, shifted + c * l.plane, count, l,
                BLOCK / 2, two);
    for (; c < d; c++)
        dots_of(cells[0], cells[1], pixels + c * l.plane, pixels + c * l.plane + l.pitch, shifted + c * l.plane, count, l, 1,
                two);
}

INLINE void mix(REAL *out, const REAL *const *weights0, const REAL *const *weights1, long step, const REAL *shifted,
                long count, layout l, long d, const int two) {
    long c = 0;
    for (; c + BLOCK <= d; c += BLOCK)
        mix_of(out + c * l.plane, out + c * l.plane + l.pitch, weights0, weights1, step, shifted + c * l.plane, count, l,
               BLOCK, two);
    for (; c + BLOCK / 2 <= d; c += BLOCK / 2)
        mix_of(out + c * l.plane, out + c * l.plane + l.pitch, weights0, weights1, step, shifted + c * l.plane, count, l,
               BLOCK / 2, two);
    for (; c < d; c++)
        mix_of(out + c * l.plane, out + c * l.plane + l.pitch, weights0, weights1, step, shifted + c * l.plane, count, l, 1,
               two);
}
