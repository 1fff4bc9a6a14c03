/* The problem as the caller states it, and the scratch memory in which one thread solves it, one head of one image a time;
 * where images are narrower than half a vector, several heads side by side, so that few lanes are idle.
 *
 * A tall image is cut into bands of rows, each a problem of its own that also needs the rows its windows reach: what is
 * worked on stays in the cache, and one large image occupies all threads. Rows are counted from the first one in scratch.
 *
 * Planes have `reach_x` numbers or more of zeros between their rows, so that windows may reach over the sides; rows of
 * cells above and below the image are simply not visited. */
#pragma once
#include <pthread.h>
#include <stdlib.h>

#include "shifts.h"

typedef struct { /* (images, heads, d, h, w), anywhere in memory; strides count numbers */
    REAL *data;
    long image, head, channel, row, col;
} tensor;

typedef struct {
    tensor q, k, v, grad, out, dq, dk, dv, x, dx; /* those that a pass does not need are not read */
    const REAL *row, *col;                 /* contiguous, (d_row, kh) and (d - d_row, kw); read if `relative` */
    REAL *drow, *dcol;                     /* one table for every head of every band, summed by the caller */
    REAL *lse;                             /* contiguous, (images, heads, h, w) */
    /* Instead of q, k, v and their gradients, if `channels` is not 0: x (images, 1, channels, h, w) and dx, and */
    const REAL *weight; /* (q, k, v one after the other: heads x d each, channels), contiguous */
    REAL *dweight;      /* (groups, rows of weight, width), zeros to begin with; width: channels, and up to whole vectors */
    long images, heads, d, d_row, h, w, reach_y, reach_x, bands, keys, relative, channels, width, groups;
} problem;

typedef struct {
    const problem *job;
    layout l;
    long kh, kw, first;    /* first: where row 0 begins in a plane */
    long side_by_side, width; /* heads, and their pixels in a row */
    long image, top;       /* the image, and its row that is row 0 here */
    long rows, low, high;  /* rows that are here; the band's own are [low, high), the others are in its windows */
    REAL *q, *k, *v, *out, *g, *to_k, *to_v;                /* d planes each; in the backward pass out becomes dq */
    REAL *lse, *border;                                     /* a plane; for a row's pixels and each cell, 0 in the image, else FAR */
    vec *cells[2], *slopes[2], *by_row[2], *by_col[2];      /* for two rows of pixels: logits, then weights, ... */
    vec *row_total, *col_total;                             /* gradients of the tables, lane by lane */
    const REAL **begins[2], *none;                           /* where weights of a row of cells begin; a row of zeros */
    /* The weights and slopes of the last `ring` rows of queries, until all keys in their windows have used them. */
    REAL *ring_weights, *ring_slopes, *ring_none;
    long ring, ring_width, ring_row;
    const REAL *by_pixel;
    REAL *flat, *x, *dx, *pixels; /* of the projections; in a flat image, channels are `stride` apart */
    long stride;
    char *memory;
} workspace;

#define FAR ((REAL)-1e30)
#define PAGE ((long)(4096 / sizeof(REAL)))

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }
INLINE long rounded_up(long n) { return (n + LANES - 1) / LANES * LANES; }

INLINE long heads_side_by_side(const problem *j) { return most(1, least(j->heads, LANES / j->w)); }

/* Between `channels` of a tensor and numbers of which channels are `apart`, rows `pitch`, and pixels side by side. In the
 * tensor, too, pixels are side by side, or channels (channels last), or neither. */
INLINE void copy_in(REAL *to, long apart, long pitch, const REAL *from, tensor t, long channels, long h, long w) {
    if (t.col == 1)
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < h; i++) {
                const REAL *row = from + c * t.channel + i * t.row;
                for (long x = 0; x < w; x += LANES) __builtin_prefetch(row + x + PAGE); /* hardware stops at a page's end */
                copy(to + c * apart + i * pitch, row, w);
            }
    else if (t.channel == 1)
        for (long i = 0; i < h; i++) transpose(to + i * pitch, apart, from + i * t.row, t.col, w, channels);
    else
        for (long i = 0; i < h; i++)
            for (long c = 0; c < channels; c++)
                for (long x = 0; x < w; x++) to[c * apart + i * pitch + x] = from[c * t.channel + i * t.row + x * t.col];
}

INLINE void copy_out(REAL *to, tensor t, const REAL *from, long apart, long pitch, long channels, long h, long w) {
    if (t.col == 1)
        for (long c = 0; c < channels; c++)
            for (long i = 0; i < h; i++) copy(to + c * t.channel + i * t.row, from + c * apart + i * pitch, w);
    else if (t.channel == 1)
        for (long i = 0; i < h; i++) transpose(to + i * t.row, t.col, from + i * pitch, apart, channels, w);
    else
        for (long i = 0; i < h; i++)
            for (long c = 0; c < channels; c++)
                for (long x = 0; x < w; x++) to[c * t.channel + i * t.row + x * t.col] = from[c * apart + i * pitch + x];
}

/* Where row `row` of this image, or of one head of it, begins in a tensor. */
INLINE REAL *row_of(tensor t, const workspace *s, long head, long row) {
    return t.data + s->image * t.image + head * t.head + (s->top + row) * t.row;
}

/* Between rows [low, high) of one head and the planes. */
static void fetch(REAL *planes, tensor t, const workspace *s, long head, long low, long high) {
    const problem *j = s->job;
    copy_in(planes + s->first + low * s->l.pitch, s->l.plane, s->l.pitch, row_of(t, s, head, low), t, j->d, high - low, j->w);
}

static void deliver(tensor t, const REAL *planes, const workspace *s, long head) {
    const problem *j = s->job;
    copy_out(row_of(t, s, head, s->low), t, planes + s->first + s->low * s->l.pitch, s->l.plane, s->l.pitch, j->d,
             s->high - s->low, j->w);
}

/* Under the address sanitizer, forbidden ground between the parts of the scratch memory: a part of its own for each. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GAP 64
#else
#define GAP 0
#define __asan_poison_memory_region(address, bytes) ((void)0)
#define __asan_unpoison_memory_region(address, bytes) ((void)0)
#endif

/* Memory that a thread keeps from one call to the next, unless it is much: fresh pages are slow to come by. */
#define MOST_KEPT ((size_t)16 << 20)
static __thread struct { char *memory; size_t bytes; } own;
static pthread_key_t at_end;
static void forget(void *memory) { free(memory); }
__attribute__((constructor)) static void begin(void) { pthread_key_create(&at_end, forget); }

static char *scratch(size_t bytes) {
    if (own.memory) __asan_unpoison_memory_region(own.memory, own.bytes);
    if (own.bytes < bytes) {
        free(own.memory);
        own.memory = aligned_alloc(64, bytes);
        own.bytes = own.memory ? bytes : 0;
        pthread_setspecific(at_end, own.memory);
    }
    return own.memory;
}

static void release(void) {
    if (own.bytes <= MOST_KEPT) return;
    free(own.memory);
    own.memory = NULL;
    own.bytes = 0;
    pthread_setspecific(at_end, NULL);
}

/* Hands out parts of one block of memory; the first round, without memory, only counts. */
INLINE void *part(const workspace *s, char **next, long bytes) {
    char *here = *next;
    *next += (bytes + 63) / 64 * 64 + GAP;
    if (s->memory) __asan_poison_memory_region(here + bytes, *next - here - bytes);
    return here;
}

static size_t arrange(workspace *s, int backward) {
    const problem *j = s->job;
    char *next = s->memory;
    const long plane = s->l.plane * sizeof(REAL), number = sizeof(REAL), vector = sizeof(vec);
    REAL **planes[] = {&s->q, &s->k, &s->v, &s->out, &s->g, &s->to_k, &s->to_v};
    for (int i = 0; i < (backward ? 7 : 4); i++) *planes[i] = part(s, &next, j->d * plane);
    s->lse = part(s, &next, plane);
    s->border = part(s, &next, rounded_up(s->width) * s->kw * number);
    s->none = part(s, &next, s->kw * vector);
    for (int r = 0; r < 2; r++) {
        s->cells[r] = part(s, &next, (s->kh + 1) * s->kw * vector);
        s->slopes[r] = part(s, &next, (s->kh + 1) * s->kw * vector);
        s->by_row[r] = part(s, &next, s->kh * vector);
        s->by_col[r] = part(s, &next, s->kw * vector);
        s->begins[r] = part(s, &next, (s->kh + 1) * sizeof(REAL *));
    }
    if (backward) {
        s->row_total = part(s, &next, j->d_row * s->kh * vector);
        s->col_total = part(s, &next, (j->d - j->d_row) * s->kw * vector);
        s->ring_weights = part(s, &next, s->ring * s->ring_row * number);
        s->ring_slopes = part(s, &next, s->ring * s->ring_row * number);
        s->ring_none = part(s, &next, s->kw * s->ring_width * number);
    }
    if (j->channels) {
        s->flat = part(s, &next, 3 * j->d * s->stride * number);
        s->x = part(s, &next, j->channels * s->stride * number);
        if (backward) {
            s->dx = part(s, &next, j->channels * s->stride * number);
            s->pixels = part(s, &next, s->rows * j->w * j->width * number);
        }
    }
    return next - s->memory;
}

INLINE long border_at(const workspace *s, long x, long b) { return (x / LANES * s->kw + b) * LANES + x % LANES; }

/* 0, or 1 when there is no memory. */
static int prepare(workspace *s, const problem *j, int backward) {
    *s = (workspace){.job = j, .kh = 2 * j->reach_y + 1, .kw = 2 * j->reach_x + 1};
    s->side_by_side = heads_side_by_side(j);
    s->width = s->side_by_side * j->w;
    s->l.width = s->kw;
    s->l.pitch = most(s->width + j->reach_x, rounded_up(s->width)); /* the last vector of a row may not spill into the next */
    s->first = (j->reach_x + LANES - 1) / LANES * LANES;
    s->rows = least(j->h, (j->h + j->bands - 1) / j->bands + 2 * j->reach_y);
    s->l.plane = s->first + s->rows * s->l.pitch + rounded_up(j->reach_x) + LANES;
    s->ring = least(s->rows, s->kh + 2);
    s->ring_width = rounded_up(s->width + j->reach_x); /* zeros after a row's pixels are the ones before the next row's */
    s->ring_row = s->kh * s->kw * s->ring_width;
    s->stride = rounded_up(s->rows * j->w) + 2 * LANES; /* products end with a whole pair of vectors, wherever they begin */
    const size_t bytes = arrange(s, backward);
    s->memory = scratch(bytes);
    if (!s->memory) return 1;
    memset(s->memory, 0, bytes);
    arrange(s, backward);
    for (long x = 0; x < rounded_up(s->width); x++)
        for (long b = 0; b < s->kw; b++) {
            const long from = x / j->w * j->w, there = x + b - j->reach_x; /* from: where this pixel's own image begins */
            s->border[border_at(s, x, b)] = there >= from && there < least(from + j->w, s->width) ? 0 : FAR;
        }
    return 0;
}

/* Turns to a band: number `band` of all images' bands. */
INLINE void turn_to(workspace *s, long band) {
    const problem *j = s->job;
    s->image = band / j->bands;
    band %= j->bands;
    const long begin = j->h * band / j->bands, end = j->h * (band + 1) / j->bands;
    s->top = most(0, begin - j->reach_y);
    s->rows = least(j->h, end + j->reach_y) - s->top;
    s->low = begin - s->top;
    s->high = end - s->top;
}
