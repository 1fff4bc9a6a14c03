/* Local attention on a CPU, forward and backward, with logits that never leave the registers and the first cache.
 *
 *     out_i = sum over cells of softmax(q_i . k_cell + q_i . r_cell) v_cell          (SASA, arXiv:1906.05909, Eq. 2 and 3)
 *
 * The unit of work is one head of one image. Its planes are copied into a scratch layout in which one row ends with `rx`
 * cells of padding that serve the next row as well, so that
 *
 *   - the window cell (a, b) of the pixel at position p is at p + (a - ry) * pitch + (b - rx), for every pixel: one
 *     vector holds neighbouring pixels and a shift is an unaligned load, whatever the width of the image;
 *   - cells outside the image are found in a plane of their own, 0 inside and FAR outside, added to the logits.
 *
 * Everything is made of two loops over window cells: `dots`, which adds channel products to the logits, and `mix`, which
 * sums planes with a weight for every cell. The backward pass computes the weights again, and keeps them from its first
 * half to its second only for an image whose weights fit a core's second cache. Gradients of keys and values are gathered
 * by each key from the queries that see it, so nothing is scattered and no order of threads can matter.
 *
 * REAL is float or double; vectors are as wide as the compiler's target allows.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((long)(BYTES / sizeof(REAL)))
#define FAR ((REAL)-1e30)
#define SECOND_CACHE (1L << 20) /* bytes that the weights of one head of one image may take between its two passes */
#ifdef REAL_IS_DOUBLE
typedef long long integer;
#else
typedef int integer;
#endif
#define INLINE static inline __attribute__((always_inline))

typedef REAL vec __attribute__((vector_size(BYTES)));
typedef integer whole __attribute__((vector_size(BYTES)));
typedef REAL loose __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias)); /* any address */

typedef struct { /* (images, heads, d, h, w), anywhere in memory; strides count numbers */
    REAL *data;
    long image, head, channel, row, col;
} tensor;

typedef struct {
    tensor q, k, v, grad, out, dq, dk, dv; /* k.data may be NULL; those that a pass does not need are not read */
    const REAL *row, *col;                 /* contiguous, (d_row, kh) and (d - d_row, kw); read if `relative` */
    REAL *drow, *dcol;                     /* one table for every unit, summed by the caller */
    REAL *lse;                             /* contiguous, (images, heads, h, w) */
    long images, heads, d, d_row, h, w, ry, rx, relative;
} problem;

typedef struct {
    const problem *job;
    long kh, kw, cells, pitch, plane, first, last, *offset;
    REAL *q, *k, *v, *g, *result, *result2, *outside, *top, *inverse, *delta, *by_row, *by_col;
    REAL *weight_planes, *slope_planes; /* of every cell, from the queries to the keys; NULL where they would be large */
    vec *logits, *slopes, *row_sums, *col_sums, *row_total, *col_total;
    void *memory;
} workspace;

INLINE vec load(const REAL *p) { return *(const loose *)p; }
INLINE void store(REAL *p, vec x) { *(loose *)p = x; }
INLINE vec all(REAL x) { return x - (vec){0}; }
INLINE vec choose(whole mask, vec yes, vec no) { return (vec)((mask & (whole)yes) | (~mask & (whole)no)); }
INLINE vec larger(vec a, vec b) { return choose(a > b, a, b); }

INLINE REAL total(vec x) {
    REAL sum = 0;
    for (long lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

/* exp(x) for x <= 0: 2^n times a polynomial in the rest; exactly 0 where the result would be denormal. */
INLINE vec exponential(vec x) {
    const int single = sizeof(REAL) == 4;
    const REAL lowest = single ? -87.0 : -708.0;
    const REAL magic = single ? 12582912.0 : 6755399441055744.0; /* adding it rounds to a whole number */
    const REAL high = single ? 0.693145751953125 : 0.693147180369123816490;
    const REAL low = single ? 1.42860682030941723e-6 : 1.90821492927058770002e-10;
    const vec kept = larger(x, all(lowest));
    const vec shifted = kept * (REAL)1.44269504088896340736 + magic;
    const vec n = shifted - magic;
    const vec r = kept - n * high - n * low;
    vec y = all(1);
    for (long term = single ? 7 : 13; term > 0; term--) y = y * r * (REAL)(1.0 / term) + (REAL)1; /* Taylor, |r| < 0.35 */
    const whole power = ((whole)shifted - (whole)all(magic) + (single ? 127 : 1023)) << (single ? 23 : 52);
    return choose(x < lowest, all(0), y * (vec)power);
}

/* logits[cell] += sum over `count` channels of x[c] at `at`, times y[c] at the cell; sign -1 looks the other way. */
INLINE void dots_of(vec *logits, const REAL *x, const REAL *y, const workspace *s, long at, long sign, const int count) {
    vec here[8];
    for (int c = 0; c < count; c++) here[c] = load(x + c * s->plane + at);
    for (long cell = 0; cell < s->cells; cell++) {
        const REAL *there = y + at + sign * s->offset[cell];
        vec sum = logits[cell];
        for (int c = 0; c < count; c++) sum += here[c] * load(there + c * s->plane);
        logits[cell] = sum;
    }
}

INLINE void dots(vec *logits, const REAL *x, const REAL *y, const workspace *s, long at, long sign) {
    long c = 0;
    for (; c + 8 <= s->job->d; c += 8) dots_of(logits, x + c * s->plane, y + c * s->plane, s, at, sign, 8);
    for (; c + 4 <= s->job->d; c += 4) dots_of(logits, x + c * s->plane, y + c * s->plane, s, at, sign, 4);
    for (; c < s->job->d; c++) dots_of(logits, x + c * s->plane, y + c * s->plane, s, at, sign, 1);
}

/* out[c] at `at` = scale times the sum over cells of weights[cell] times y[c] at the cell. */
INLINE void mix_of(REAL *out, const vec *weights, const REAL *y, const workspace *s, long at, long sign, vec scale,
                   const int count) {
    vec sums[8];
    for (int c = 0; c < count; c++) sums[c] = all(0);
    for (long cell = 0; cell < s->cells; cell++) {
        const REAL *there = y + at + sign * s->offset[cell];
        const vec weight = weights[cell];
        for (int c = 0; c < count; c++) sums[c] += weight * load(there + c * s->plane);
    }
    for (int c = 0; c < count; c++) store(out + c * s->plane + at, sums[c] * scale);
}

INLINE void mix(REAL *out, const vec *weights, const REAL *y, const workspace *s, long at, long sign, vec scale) {
    long c = 0;
    for (; c + 8 <= s->job->d; c += 8) mix_of(out + c * s->plane, weights, y + c * s->plane, s, at, sign, scale, 8);
    for (; c + 4 <= s->job->d; c += 4) mix_of(out + c * s->plane, weights, y + c * s->plane, s, at, sign, scale, 4);
    for (; c < s->job->d; c++) mix_of(out + c * s->plane, weights, y + c * s->plane, s, at, sign, scale, 1);
}

/* by_row[a], by_col[b] at `at`: what the queries there think of each direction. */
static void offsets_at(workspace *s, long at) {
    const problem *j = s->job;
    for (long a = 0; a < s->kh; a++) {
        vec sum = all(0);
        for (long c = 0; c < j->d_row; c++) sum += load(s->q + c * s->plane + at) * j->row[c * s->kh + a];
        store(s->by_row + a * s->plane + at, sum);
    }
    for (long b = 0; b < s->kw; b++) {
        vec sum = all(0);
        for (long c = j->d_row; c < j->d; c++)
            sum += load(s->q + c * s->plane + at) * j->col[(c - j->d_row) * s->kw + b];
        store(s->by_col + b * s->plane + at, sum);
    }
}

/* logits[cell] becomes exp(logit - largest logit); returns 1 / their sum, and leaves the largest logit in *top. */
INLINE vec softmax_at(workspace *s, long at, vec *top) {
    const problem *j = s->job;
    if (j->relative) offsets_at(s, at);
    for (long a = 0, cell = 0; a < s->kh; a++) {
        const vec by_row = j->relative ? load(s->by_row + a * s->plane + at) : all(0);
        for (long b = 0; b < s->kw; b++, cell++) {
            vec logit = load(s->outside + at + s->offset[cell]) + by_row;
            if (j->relative) logit += load(s->by_col + b * s->plane + at);
            s->logits[cell] = logit;
        }
    }
    if (j->k.data) dots(s->logits, s->q, s->k, s, at, 1);
    vec most = s->logits[0], sum = all(0);
    for (long cell = 1; cell < s->cells; cell++) most = larger(most, s->logits[cell]);
    for (long cell = 0; cell < s->cells; cell++) {
        s->logits[cell] = exponential(s->logits[cell] - most);
        sum += s->logits[cell];
    }
    *top = most;
    return (REAL)1 / sum;
}

/* Between a tensor's own layout and the planes, one row a time: rows of pixels where the tensor has them side by side,
 * otherwise (channels last) pixel by pixel. */
static void fetch(REAL *planes, tensor t, const workspace *s, long unit) {
    const problem *j = s->job;
    const REAL *from = t.data + unit / j->heads * t.image + unit % j->heads * t.head;
    for (long i = 0; i < j->h; i++) {
        REAL *to = planes + s->first + i * s->pitch;
        const REAL *row = from + i * t.row;
        if (t.col == 1)
            for (long c = 0; c < j->d; c++) memcpy(to + c * s->plane, row + c * t.channel, j->w * sizeof(REAL));
        else
            for (long x = 0; x < j->w; x++)
                for (long c = 0; c < j->d; c++) to[c * s->plane + x] = row[x * t.col + c * t.channel];
    }
}

static void deliver(tensor t, const REAL *planes, const workspace *s, long unit) {
    const problem *j = s->job;
    REAL *to = t.data + unit / j->heads * t.image + unit % j->heads * t.head;
    for (long i = 0; i < j->h; i++) {
        const REAL *from = planes + s->first + i * s->pitch;
        REAL *row = to + i * t.row;
        if (t.col == 1)
            for (long c = 0; c < j->d; c++) memcpy(row + c * t.channel, from + c * s->plane, j->w * sizeof(REAL));
        else
            for (long x = 0; x < j->w; x++)
                for (long c = 0; c < j->d; c++) row[x * t.col + c * t.channel] = from[c * s->plane + x];
    }
}

/* A plane of per-query numbers, set to 0 wherever there is no query. */
static void clear_padding(REAL *plane, const workspace *s) {
    const problem *j = s->job;
    memset(plane, 0, s->first * sizeof(REAL));
    for (long i = 0; i < j->h; i++)
        memset(plane + s->first + i * s->pitch + j->w, 0, (s->pitch - j->w) * sizeof(REAL));
    memset(plane + s->first + j->h * s->pitch, 0, (s->plane - s->first - j->h * s->pitch) * sizeof(REAL));
}

static void forward_unit(workspace *s, long unit) {
    const problem *j = s->job;
    fetch(s->q, j->q, s, unit);
    fetch(s->v, j->v, s, unit);
    if (j->k.data) fetch(s->k, j->k, s, unit);
    for (long at = s->first; at < s->last; at += LANES) {
        vec top;
        const vec inverse = softmax_at(s, at, &top);
        mix(s->result, s->logits, s->v, s, at, 1, inverse);
        for (long l = 0; l < LANES; l++) s->top[at + l] = top[l] + log((double)(1/inverse[l]));
    }
    for (long i = 0; i < j->h; i++) memcpy(j->lse + (unit*j->h + i)*j->w, s->top + s->first + i*s->pitch, j->w*sizeof(REAL));
    deliver(j->out, s->result, s, unit);
}

/* As seen by the queries: their own gradient, that of the tables, and what the keys will have to know. */
static void backward_queries(workspace *s, long unit) {
    const problem *j = s->job;
    for (long a = 0; a < j->d_row * s->kh; a++) s->row_total[a] = all(0);
    for (long b = 0; b < (j->d - j->d_row) * s->kw; b++) s->col_total[b] = all(0);
    for (long at = s->first; at < s->last; at += LANES) {
        vec top, delta = all(0);
        const vec inverse = softmax_at(s, at, &top);
        for (long cell = 0; cell < s->cells; cell++) s->slopes[cell] = all(0);
        dots(s->slopes, s->g, s->v, s, at, 1);
        for (long cell = 0; cell < s->cells; cell++) delta += s->logits[cell] * s->slopes[cell];
        delta *= inverse;
        for (long cell = 0; cell < s->cells; cell++) {
            const vec weight = s->logits[cell] * inverse;
            s->slopes[cell] = weight * (s->slopes[cell] - delta);
            if (s->weight_planes) {
                store(s->weight_planes + cell * s->plane + at, weight);
                store(s->slope_planes + cell * s->plane + at, s->slopes[cell]);
            }
        }
        if (j->k.data) mix(s->result, s->slopes, s->k, s, at, 1, all(1));
        else
            for (long c = 0; c < j->d; c++) store(s->result + c * s->plane + at, all(0));
        if (j->relative) {
            for (long a = 0; a < s->kh; a++) s->row_sums[a] = all(0);
            for (long b = 0; b < s->kw; b++) s->col_sums[b] = all(0);
            for (long a = 0, cell = 0; a < s->kh; a++)
                for (long b = 0; b < s->kw; b++, cell++) {
                    s->row_sums[a] += s->slopes[cell];
                    s->col_sums[b] += s->slopes[cell];
                }
            for (long c = 0; c < j->d; c++) {
                const int is_row = c < j->d_row;
                const long size = is_row ? s->kh : s->kw, base = (is_row ? c : c - j->d_row) * size;
                const vec *sums = is_row ? s->row_sums : s->col_sums, q = load(s->q + c * s->plane + at);
                const REAL *table = (is_row ? j->row : j->col) + base;
                vec *totals = (is_row ? s->row_total : s->col_total) + base, slope = load(s->result + c * s->plane + at);
                for (long o = 0; o < size; o++) {
                    slope += sums[o] * table[o];
                    totals[o] += sums[o] * q;
                }
                store(s->result + c * s->plane + at, slope);
            }
        }
        store(s->top + at, top);
        store(s->inverse + at, inverse);
        store(s->delta + at, delta);
    }
    deliver(j->dq, s->result, s, unit);
    if (j->relative) {
        for (long a = 0; a < j->d_row * s->kh; a++) j->drow[unit * j->d_row * s->kh + a] = total(s->row_total[a]);
        for (long b = 0; b < (j->d - j->d_row) * s->kw; b++)
            j->dcol[unit * (j->d - j->d_row) * s->kw + b] = total(s->col_total[b]);
    }
    clear_padding(s->top, s);
    clear_padding(s->inverse, s); /* no query: a weight of 0 */
    clear_padding(s->delta, s);
}

/* The query for which the key at `at` lies in cell (a, b) is found at the opposite offset. Its weight and slope, computed
 * again. */
INLINE void recompute_for_key(workspace *s, long at) {
    const problem *j = s->job;
    for (long a = 0, cell = 0; a < s->kh; a++)
        for (long b = 0; b < s->kw; b++, cell++) {
            const long query = at - s->offset[cell];
            s->slopes[cell] = -load(s->delta + query);
            s->logits[cell] = all(0);
            if (j->relative)
                s->logits[cell] = load(s->by_row + a * s->plane + query) + load(s->by_col + b * s->plane + query);
        }
    if (j->k.data) dots(s->logits, s->k, s->q, s, at, -1);
    dots(s->slopes, s->v, s->g, s, at, -1);
    for (long cell = 0; cell < s->cells; cell++) {
        const long query = at - s->offset[cell];
        const vec below = s->logits[cell] - load(s->top + query);
        const vec weight = exponential(-larger(all(0), -below)) * load(s->inverse + query);
        s->logits[cell] = weight;
        s->slopes[cell] *= weight;
    }
}

static void backward_keys(workspace *s, long unit) {
    const problem *j = s->job;
    for (long at = s->first; at < s->last; at += LANES) {
        if (s->weight_planes)
            for (long cell = 0; cell < s->cells; cell++) {
                s->logits[cell] = load(s->weight_planes + cell * s->plane + at - s->offset[cell]);
                s->slopes[cell] = load(s->slope_planes + cell * s->plane + at - s->offset[cell]);
            }
        else
            recompute_for_key(s, at);
        mix(s->result, s->logits, s->g, s, at, -1, all(1));
        if (j->k.data) mix(s->result2, s->slopes, s->q, s, at, -1, all(1));
    }
    deliver(j->dv, s->result, s, unit);
    if (j->k.data) deliver(j->dk, s->result2, s, unit);
}

static void backward_unit(workspace *s, long unit) {
    const problem *j = s->job;
    fetch(s->q, j->q, s, unit);
    fetch(s->v, j->v, s, unit);
    fetch(s->g, j->grad, s, unit);
    if (j->k.data) fetch(s->k, j->k, s, unit);
    backward_queries(s, unit);
    backward_keys(s, unit);
}

static int prepare(workspace *s, const problem *j, int backward) {
    const long full = BYTES / sizeof(REAL);
    s->job = j;
    s->kh = 2 * j->ry + 1;
    s->kw = 2 * j->rx + 1;
    s->cells = s->kh * s->kw;
    s->pitch = j->w + j->rx;
    s->first = full + j->rx + j->ry * s->pitch;
    s->last = s->first + (j->h - 1) * s->pitch + j->w;
    s->plane = (s->last + j->ry * s->pitch + j->rx + 2 * full) / full * full + full;
    const int keep = backward && 2 * s->cells * s->plane * (long)sizeof(REAL) <= SECOND_CACHE;
    const long planes = 6 * j->d + 4 + s->kh + s->kw + (keep ? 2 * s->cells : 0);
    const long vectors = 2 * s->cells + s->kh + s->kw + j->d_row * s->kh + (j->d - j->d_row) * s->kw;
    const size_t bytes = planes * s->plane * sizeof(REAL) + vectors * sizeof(vec) + s->cells * sizeof(long);
    s->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!s->memory) return 1;
    REAL *next = s->memory;
    memset(next, 0, planes * s->plane * sizeof(REAL));
    REAL **per_channel[] = {&s->q, &s->k, &s->v, &s->g, &s->result, &s->result2};
    for (int i = 0; i < 6; i++, next += j->d * s->plane) *per_channel[i] = next;
    REAL **single[] = {&s->outside, &s->top, &s->inverse, &s->delta};
    for (int i = 0; i < 4; i++, next += s->plane) *single[i] = next;
    s->by_row = next, next += s->kh * s->plane;
    s->by_col = next, next += s->kw * s->plane;
    s->weight_planes = s->slope_planes = NULL;
    if (keep) {
        s->weight_planes = next, next += s->cells * s->plane;
        s->slope_planes = next, next += s->cells * s->plane;
    }
    vec *vector = (vec *)next;
    s->logits = vector, vector += s->cells;
    s->slopes = vector, vector += s->cells;
    s->row_sums = vector, vector += s->kh;
    s->col_sums = vector, vector += s->kw;
    s->row_total = vector, vector += j->d_row * s->kh;
    s->col_total = vector, vector += (j->d - j->d_row) * s->kw;
    s->offset = (long *)vector;
    for (long cell = 0; cell < s->cells; cell++)
        s->offset[cell] = (cell / s->kw - j->ry) * s->pitch + (cell % s->kw - j->rx);
    for (long p = 0; p < s->plane; p++) s->outside[p] = FAR;
    for (long i = 0; i < j->h; i++) memset(s->outside + s->first + i * s->pitch, 0, j->w * sizeof(REAL));
    return 0;
}

/* How the units are shared out. Every thread takes shares until none is left, so fewer threads than asked for do, too. */
typedef struct {
    const problem *job;
    int backward, shares;
    atomic_int next, failed;
} sharing;

static void work(void *argument) {
    sharing *all = argument;
    const long units = all->job->images * all->job->heads;
    workspace s;
    if (prepare(&s, all->job, all->backward)) {
        atomic_store(&all->failed, 1);
        return;
    }
    for (int t; (t = atomic_fetch_add(&all->next, 1)) < all->shares;)
        for (long unit = units * t / all->shares; unit < units * (t + 1) / all->shares; unit++)
            (all->backward ? backward_unit : forward_unit)(&s, unit);
    free(s.memory);
}

/* PyTorch's own threads, where they can be had: GNU's OpenMP (LLVM's has the same entry), found when this library is
 * loaded. Threads of our own would fight for the cores with those, which spin a while after each of PyTorch's operators.
 * A forked child has lost them, and must not wait for them. */
#ifdef __linux__
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned) __attribute__((weak));
static pid_t loaded_by;
__attribute__((constructor)) static void remember(void) { loaded_by = getpid(); }
static int shared_threads(sharing *all, int threads) {
    if (!GOMP_parallel || getpid() != loaded_by) return 0;
    GOMP_parallel(work, all, (unsigned)threads, 0);
    return 1;
}
#else
static int shared_threads(sharing *all, int threads) { return 0; }
#endif

static void *own_thread(void *all) {
    work(all);
    return NULL;
}

static int own_threads(sharing *all, int threads) {
    pthread_t *handles = malloc(threads * sizeof(pthread_t));
    int started = 0;
    if (handles)
        while (started < threads - 1 && pthread_create(&handles[started], NULL, own_thread, all) == 0) started++;
    work(all);
    while (started > 0) pthread_join(handles[--started], NULL);
    free(handles);
    return 1;
}

/* Returns 0, or 1 when there was no memory. */
int local_attention(const problem *job, int backward, int threads) {
    const long units = job->images * job->heads;
    if (threads > units) threads = (int)units;
    sharing all = {.job = job, .backward = backward, .shares = threads < 1 ? 1 : threads};
    if (threads <= 1) work(&all);
    else if (!shared_threads(&all, threads)) own_threads(&all, threads);
    return atomic_load(&all.failed);
}
