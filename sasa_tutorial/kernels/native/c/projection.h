/* The 1x1 convolutions before the attention, for one band of an image and one head at a time, so that queries, keys and values are
 * made where they are used, and never exist for the whole batch: three small matrix products and their gradients.
 *
 * Numbers are flat here: channel after channel, `stride` apart, pixels side by side; what follows the last one is never read as a pixel. */
#pragma once
#include "scratch.h"

/* out[n][p] = before + sum over m of weight[n * across + m * along] times x[m][p], for `rows` (a constant) rows n; before:
 * what is there already if `add`, else 0. One way around it projects, the other way it takes gradients back. */
INLINE void product_block(REAL *out, const REAL *weight, long across, long along, const REAL *x, long count, long stride,
                          long pixels, const int rows, const int add) {
    for (long p = 0; p < pixels; p += 2 * LANES) {
        vec first[BLOCK], second[BLOCK];
        for (int n = 0; n < rows; n++) {
            first[n] = add ? load(out + n * stride + p) : all(0);
            second[n] = add ? load(out + n * stride + p + LANES) : all(0);
        }
        for (long m = 0; m < count; m++) {
            const vec x0 = load(x + m * stride + p), x1 = load(x + m * stride + p + LANES);
#pragma GCC unroll 8
            for (int n = 0; n < rows; n++) {
                first[n] += weight[n * across + m * along] * x0;
                second[n] += weight[n * across + m * along] * x1;
            }
        }
        for (int n = 0; n < rows; n++) {
            store(out + n * stride + p, first[n]);
            store(out + n * stride + p + LANES, second[n]);
        }
    }
}

/* The same for any number of rows, BLOCK at a time. */
INLINE void product(REAL *out, const REAL *weight, long across, long along, const REAL *x, long count, long stride,
                    long pixels, long rows, const int add) {
    long n = 0;
    for (; n + BLOCK <= rows; n += BLOCK)
        product_block(out + n * stride, weight + n * across, across, along, x, count, stride, pixels, BLOCK, add);
    for (; n < rows; n++)
        product_block(out + n * stride, weight + n * across, across, along, x, count, stride, pixels, 1, add);
}

/* dweight[o][c] += sum over p of slopes[o][p] times x[c][p], which comes pixel by pixel: vectors hold channels here. */
INLINE void weight_block(REAL *dweight, long width, const REAL *slopes, long stride, const REAL *by_pixel, long pixels,
                         const int outputs) {
    for (long c = 0; c < width; c += LANES) {
        vec sums[BLOCK];
        for (int o = 0; o < outputs; o++) sums[o] = load(dweight + o * width + c);
        for (long p = 0; p < pixels; p++) {
            const vec x = load(by_pixel + p * width + c);
#pragma GCC unroll 8
            for (int o = 0; o < outputs; o++) sums[o] += slopes[o * stride + p] * x;
        }
        for (int o = 0; o < outputs; o++) store(dweight + o * width + c, sums[o]);
    }
}

/* The rows of the weights that make a head's queries, keys (may be missing) or values: the first of them. */
INLINE long weight_row(const problem *j, long head, int part) {
    const int before = part == 2 && !j->keys ? 1 : part;
    return (before * j->heads + head) * j->d;
}

/* From the planes' point of view: flat numbers are a tensor like any other. */
INLINE tensor flat_tensor(const workspace *s, int part) {
    return (tensor){.data = s->flat + part * s->job->d * s->stride, .channel = s->stride, .row = s->job->w, .col = 1};
}

/* Fills rows [low, high) of the planes of queries (part 0), keys (1) or values (2). */
static void project(workspace *s, REAL *planes, int part, long head, long low, long high) {
    const problem *j = s->job;
    const REAL *weight = j->weight + weight_row(j, head, part) * j->channels;
    const tensor flat = flat_tensor(s, part);
    const long begin = low * j->w;
    product(flat.data + begin, weight, j->channels, 1, s->x + begin, j->channels, s->stride, high * j->w - begin, j->d, 0);
    copy_in(planes + s->first + low * s->l.pitch, s->l.plane, s->l.pitch, flat.data + begin, flat, j->d, high - low, j->w);
}

/* From the gradients of queries, keys and values in the planes to those of the input and the weights. */
static void project_back(workspace *s, REAL *dweight, long head, long column) {
    const problem *j = s->job;
    const long begin = s->low * j->w, pixels = s->high * j->w - begin, width = j->width;
    const REAL *planes[] = {s->out, s->to_k, s->to_v}, *by_pixel = s->by_pixel + begin * width;
    for (int part = 0; part < 3; part++) {
        if (part == 1 && !j->keys) continue;
        const long row = weight_row(j, head, part);
        const tensor flat = flat_tensor(s, part);
        const REAL *slopes = flat.data + begin;
        copy_out(flat.data + begin, flat, planes[part] + column + s->first + s->low * s->l.pitch, s->l.plane, s->l.pitch, j->d,
                 s->high - s->low, j->w);
        product(s->dx + begin, j->weight + row * j->channels, 1, j->channels, slopes, j->d, s->stride, pixels, j->channels, 1);
        long o = 0;
        for (; o + BLOCK <= j->d; o += BLOCK)
            weight_block(dweight + (row + o) * width, width, slopes + o * s->stride, s->stride, by_pixel, pixels, BLOCK);
        for (; o < j->d; o++)
            weight_block(dweight + (row + o) * width, width, slopes + o * s->stride, s->stride, by_pixel, pixels, 1);
    }
}

/* Before the heads of a band: its pixels channel by channel, and, for the backward pass, pixel by pixel. */
static void begin_band(workspace *s, int backward) {
    const problem *j = s->job;
    const REAL *from = row_of(j->x, s, 0, 0);
    copy_in(s->x, s->stride, j->w, from, j->x, j->channels, s->rows, j->w);
    if (!backward) return;
    memset(s->dx, 0, j->channels * s->stride * sizeof(REAL));
    if (j->channels == j->width && j->x.channel == 1 && j->x.col == j->width && j->x.row == j->w * j->width) s->by_pixel = from;
    else {
        transpose(s->pixels, j->width, s->x, s->stride, j->channels, s->rows * j->w);
        s->by_pixel = s->pixels;
    }
}

static void end_band(workspace *s) {
    const problem *j = s->job;
    copy_out(row_of(j->dx, s, 0, s->low), j->dx, s->dx + s->low * j->w, s->stride, j->w, j->channels, s->high - s->low, j->w);
}
