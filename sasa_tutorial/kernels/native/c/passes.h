/* Forward and backward pass over one head of one band of an image, or over a few that are side by side. */
#pragma once
#include "projection.h"

typedef struct { /* one vector of pixels in each of two rows, or in one */
    long row, x, at;         /* at: of the upper one, in a plane */
    long from, count;        /* rows that the windows of either reach */
    long low[2], high[2];    /* which of those are in the window of each: [low, high) */
    whole live;              /* lanes that are pixels */
} spot;

/* Windows end at rows `low` and `high`. */
INLINE spot spot_at(const workspace *s, long row, long x, long low, long high, const int two) {
    const problem *j = s->job;
    spot p = {.row = row, .x = x, .at = s->first + row * s->l.pitch + x, .from = most(low, row - j->reach_y)};
    for (int r = 0; r <= two; r++) {
        p.low[r] = most(low, row + r - j->reach_y) - p.from;
        p.high[r] = least(high, row + r + j->reach_y + 1) - p.from;
    }
    p.count = p.high[two];
    for (long lane = 0; lane < LANES; lane++) p.live[lane] = x + lane < s->width ? -1 : 0;
    return p;
}

/* Which cell of its window's column the first visited row is for row r of pixels. */
INLINE long first_cell(const workspace *s, const spot *p, int r) { return p->from - p->row - r + s->job->reach_y; }

/* sums[o] += sum over `count` channels of pixels[c] times table[c, o]. */
INLINE void offsets_of(vec *sums, const REAL *pixels, const REAL *table, long count, long size, long plane) {
    for (long c = 0; c < count; c += 4) { /* four channels in registers; a last one is taken with the weight 0 */
        vec here[4];
        const REAL *of[4];
        for (int n = 0; n < 4; n++) {
            const long channel = least(c + n, count - 1);
            here[n] = c + n < count ? load(pixels + channel * plane) : all(0);
            of[n] = table + channel * size;
        }
        for (long o = 0; o < size; o++)
            sums[o] += here[0] * of[0][o] + here[1] * of[1][o] + (here[2] * of[2][o] + here[3] * of[3][o]);
    }
}

/* What the queries think of each direction: by_row[a], and by_col[b], far below where the cell is beside the image. */
INLINE void offsets_at(workspace *s, const spot *p, int r) {
    const problem *j = s->job;
    const REAL *q = s->q + p->at + r * s->l.pitch;
    for (long a = 0; a < s->kh; a++) s->by_row[r][a] = all(0);
    for (long b = 0; b < s->kw; b++) s->by_col[r][b] = load(s->border + border_at(s, p->x, b));
    if (!j->relative) return;
    offsets_of(s->by_row[r], q, j->row, j->d_row, s->kh, s->l.plane);
    offsets_of(s->by_col[r], q + j->d_row * s->l.plane, j->col, j->d - j->d_row, s->kw, s->l.plane);
}

/* cells[r][y, b] = logits, in both rows for every visited cell. */
INLINE void logits_at(workspace *s, const spot *p, const int two) {
    for (int r = 0; r <= two; r++) {
        offsets_at(s, p, r);
        for (long y = 0; y < p->count; y++) {
            const long a = first_cell(s, p, r) + y;
            const vec by_row = a >= 0 && a < s->kh ? s->by_row[r][a] : all(0);
            for (long b = 0; b < s->kw; b++) s->cells[r][y * s->kw + b] = by_row + s->by_col[r][b];
        }
    }
    if (s->job->keys)
        dots(s->cells, s->q + p->at, s->k + s->first + p->from * s->l.pitch + p->x - s->job->reach_x, p->count, s->l,
             s->job->d, two);
}

/* rows[r][y]: where the weights of the cells in row y begin, in s->cells or s->slopes. */
INLINE void point_at(workspace *s, const spot *p, vec *const cells[2], const int two) {
    for (int r = 0; r <= two; r++)
        for (long y = 0; y < p->count; y++)
            s->begins[r][y] = y < p->low[r] || y >= p->high[r] ? s->none : (const REAL *)(cells[r] + y * s->kw);
}

INLINE void forward_at(workspace *s, long row, long x, const int two) {
    const problem *j = s->job;
    const spot p = spot_at(s, row, x, 0, s->rows, two);
    vec inverse[2];
    logits_at(s, &p, two);
    for (int r = 0; r <= two; r++) {
        vec *const cells = s->cells[r];
        const long begin = p.low[r] * s->kw, end = p.high[r] * s->kw;
        const vec top = largest(cells + begin, end - begin), shift = top * -LOG2_E;
        vec sum = all(0), other = all(0);
        for (long cell = begin; cell < end; cell++) {
            const vec weight = power_of_two(cells[cell] * LOG2_E + shift);
            cells[cell] = weight;
            const vec swap = sum; /* two chains, taken in turn */
            sum = other + weight;
            other = swap;
        }
        sum += other;
        inverse[r] = 1 / sum;
        store(s->lse + p.at + r * s->l.pitch, top + logarithm(sum));
    }
    point_at(s, &p, s->cells, two);
    REAL *out = s->out + p.at;
    mix(out, s->begins[0], s->begins[1], LANES, s->v + s->first + p.from * s->l.pitch + x - j->reach_x, p.count, s->l, j->d,
        two);
    for (int r = 0; r <= two; r++)
        for (long c = 0; c < j->d; c++) {
            REAL *here = out + c * s->l.plane + r * s->l.pitch;
            store(here, load(here) * inverse[r]);
        }
}

/* Sums of slopes over the columns, and over the rows, of a window: by_row and by_col, used again. */
INLINE void sum_slopes(workspace *s, const spot *p, int r) {
    vec *const by_row = s->by_row[r], *const by_col = s->by_col[r];
    for (long a = 0; a < s->kh; a++) by_row[a] = all(0);
    for (long b = 0; b < s->kw; b++) by_col[b] = all(0);
    for (long y = p->low[r]; y < p->high[r]; y++) {
        vec sum = all(0);
        for (long b = 0; b < s->kw; b++) {
            const vec slope = s->slopes[r][y * s->kw + b];
            sum += slope;
            by_col[b] += slope;
        }
        by_row[first_cell(s, p, r) + y] = sum;
    }
}

/* For one channel: what its row of a table gives back to the queries is added to `slopes`, what they give to it to `totals`. */
INLINE void table_row(vec *const sums[2], const REAL *table, long size, const REAL *q, REAL *slopes, vec *totals, long pitch,
                      const int two) {
    const vec q0 = load(q), q1 = two ? load(q + pitch) : all(0);
    vec slope0 = load(slopes), slope1 = two ? load(slopes + pitch) : all(0);
    for (long o = 0; o < size; o++) {
        vec sum = totals[o] + sums[0][o] * q0;
        slope0 += sums[0][o] * table[o];
        if (two) {
            sum += sums[1][o] * q1;
            slope1 += sums[1][o] * table[o];
        }
        totals[o] = sum;
    }
    store(slopes, slope0);
    if (two) store(slopes + pitch, slope1);
}

INLINE void tables_at(workspace *s, const spot *p, const int two) {
    const problem *j = s->job;
    for (int r = 0; r <= two; r++) sum_slopes(s, p, r);
    for (long c = 0; c < j->d; c++) {
        const long at = c * s->l.plane + p->at, cr = c * s->kh, cc = (c - j->d_row) * s->kw;
        if (c < j->d_row)
            table_row(s->by_row, j->row + cr, s->kh, s->q + at, s->out + at, s->row_total + cr, s->l.pitch, two);
        else table_row(s->by_col, j->col + cc, s->kw, s->q + at, s->out + at, s->col_total + cc, s->l.pitch, two);
    }
}

/* As seen by the queries: their own gradient, that of the tables, and, into the ring, what the keys will have to know.
 * Queries of another band only do the last, for the keys of this one. */
INLINE void queries_at(workspace *s, long row, long x, const int two) {
    const problem *j = s->job;
    const int other = row < s->low || row >= s->high;
    const spot p = spot_at(s, row, x, other ? s->low : 0, other ? s->high : s->rows, two);
    const long corner = s->first + p.from * s->l.pitch + x - j->reach_x;
    logits_at(s, &p, two);
    for (int r = 0; r <= two; r++) {
        vec delta = all(0); /* the mean slope under the weights: grad . out, which is still in `out` */
        for (long c = 0; c < j->d; c++) {
            const long at = c * s->l.plane + p.at + r * s->l.pitch;
            delta += load(s->g + at) * load(s->out + at);
        }
        for (long cell = 0; cell < p.count * s->kw; cell++) s->slopes[r][cell] = -delta;
    }
    dots(s->slopes, s->g + p.at, s->v + corner, p.count, s->l, j->d, two);
    for (int r = 0; r <= two; r++) {
        const vec shift = load(s->lse + p.at + r * s->l.pitch) * -LOG2_E;
        const long ring = (row + r) % s->ring * s->ring_row + x + first_cell(s, &p, r) * s->kw * s->ring_width;
        const int partial = x + LANES > s->width;
        for (long cell = p.low[r] * s->kw; cell < p.high[r] * s->kw; cell++) {
            vec weight = power_of_two(s->cells[r][cell] * LOG2_E + shift), slope = weight * s->slopes[r][cell];
            if (partial) weight = kept(p.live, weight), slope = kept(p.live, slope); /* no query: nothing for any key */
            s->slopes[r][cell] = slope;
            store(s->ring_weights + ring + cell * s->ring_width, weight);
            store(s->ring_slopes + ring + cell * s->ring_width, slope);
        }
    }
    if (other) return;
    REAL *out = s->out + p.at;
    if (j->keys) {
        point_at(s, &p, s->slopes, two);
        mix(out, s->begins[0], s->begins[1], LANES, s->k + corner, p.count, s->l, j->d, two);
    } else
        for (long c = 0; c < j->d; c++)
            for (int r = 0; r <= two; r++) store(out + c * s->l.plane + r * s->l.pitch, all(0));
    if (j->relative) tables_at(s, &p, two);
}

/* As seen by the keys: each gathers from the queries that have it in their windows, so nothing is scattered and no order
 * can matter. The query for which a key lies in cell (a, b) is found at the opposite offset. */
INLINE void keys_at(workspace *s, long row, long x, const int two) {
    const problem *j = s->job;
    const spot p = spot_at(s, row, x, 0, s->rows, two);
    const long corner = s->first + p.from * s->l.pitch + x - j->reach_x;
    const struct { REAL *ring, *out, *from; } jobs[] = {{s->ring_weights, s->to_v, s->g}, {s->ring_slopes, s->to_k, s->q}};
    for (int i = 0; i < (j->keys ? 2 : 1); i++) {
        for (int r = 0; r <= two; r++)
            for (long y = 0; y < p.count; y++) {
                const long query = p.from + y, a = row + r - query + j->reach_y;
                const REAL *cell = y < p.low[r] || y >= p.high[r]
                    ? s->ring_none : jobs[i].ring + query % s->ring * s->ring_row + a * s->kw * s->ring_width;
                s->begins[r][y] = cell + (s->kw - 1) * s->ring_width + x - j->reach_x;
            }
        mix(jobs[i].out + p.at, s->begins[0], s->begins[1], 1 - s->ring_width, jobs[i].from + corner, p.count, s->l, j->d, two);
    }
}

/* One step over vectors of a pair of rows, or of the last row of an odd number. */
#define OVER_ROW(step, s, row, end)                       \
    for (long x = 0; x < (s)->width; x += LANES)          \
        if ((row) + 1 < (end)) step(s, row, x, 1);        \
        else step(s, row, x, 0)

/* From planes to planes. */
static void forward_planes(workspace *s) {
    for (long row = s->low; row < s->high; row += 2) OVER_ROW(forward_at, s, row, s->high);
}

/* Keys follow the queries as soon as the last row that sees them is done. */
static void backward_planes(workspace *s) {
    const long ends[] = {s->low, s->high, s->rows};
    for (long row = 0, key = s->low, part = 0; row < s->rows;) {
        while (row >= ends[part]) part++;
        OVER_ROW(queries_at, s, row, ends[part]);
        row = least(row + 2, ends[part]);
        for (; key < s->high && (row == s->rows || key + 1 + s->job->reach_y < row); key += 2)
            OVER_ROW(keys_at, s, key, s->high);
    }
}

/* Bundles of heads that are side by side: the bundles of an image. */
INLINE long bundles(const problem *j) {
    return (j->heads + heads_side_by_side(j) - 1) / heads_side_by_side(j);
}

/* Rows [low, high) of the queries (part 0), keys (1) or values (2) of a head, into planes. */
INLINE void take(workspace *s, REAL *planes, int part, long head, long low, long high) {
    const problem *j = s->job;
    const tensor tensors[] = {j->q, j->k, j->v};
    if (j->channels) project(s, planes, part, head, low, high);
    else fetch(planes, tensors[part], s, head, low, high);
}

/* Where row `row` of one head begins in lse. */
INLINE REAL *lse_at(const workspace *s, long head, long row) {
    const problem *j = s->job;
    return j->lse + ((s->image * j->heads + head) * j->h + s->top + row) * j->w;
}

static void forward_bundle(workspace *s, long bundle) {
    const problem *j = s->job;
    const long begin = bundle * s->side_by_side, end = least(begin + s->side_by_side, j->heads);
    for (long head = begin, column = 0; head < end; head++, column += j->w) {
        take(s, s->q + column, 0, head, s->low, s->high);
        if (j->keys) take(s, s->k + column, 1, head, 0, s->rows);
        take(s, s->v + column, 2, head, 0, s->rows);
    }
    forward_planes(s);
    for (long head = begin, column = 0; head < end; head++, column += j->w) {
        deliver(j->out, s->out + column, s, head);
        for (long i = s->low; i < s->high; i++) copy(lse_at(s, head, i), s->lse + s->first + i * s->l.pitch + column, j->w);
    }
}

/* All heads of a band whose queries, keys and values have to be projected first. */
static void forward_band(workspace *s) {
    begin_band(s, 0);
    for (long bundle = 0; bundle < bundles(s->job); bundle++) forward_bundle(s, bundle);
}

/* The gradient of a table for one head, from sums lane by lane. */
INLINE void deliver_table(REAL *to, const vec *sums, long count, const workspace *s, long column) {
    for (long n = 0; n < count; n++)
        if (s->side_by_side == 1) to[n] = total(sums[n]);
        else
            for (long lane = column, first = 1; lane < column + s->job->w; lane++, first = 0)
                to[n] = first ? sums[n][lane] : to[n] + sums[n][lane];
}

static void backward_bundle(workspace *s, long band, long bundle, REAL *dweight) {
    const problem *j = s->job;
    const long begin = bundle * s->side_by_side, end = least(begin + s->side_by_side, j->heads);
    const long rows = j->d_row * s->kh, cols = (j->d - j->d_row) * s->kw;
    for (long head = begin, column = 0; head < end; head++, column += j->w) {
        REAL *planes[] = {s->q + column, s->k + column, s->v + column};
        for (int part = 0; part < 3; part++)
            if (part != 1 || j->keys) take(s, planes[part], part, head, 0, s->rows);
        fetch(s->g + column, j->grad, s, head, 0, s->rows);
        fetch(s->out + column, j->out, s, head, 0, s->rows);
        for (long i = 0; i < s->rows; i++) copy(s->lse + s->first + i * s->l.pitch + column, lse_at(s, head, i), j->w);
    }
    for (long n = 0; n < rows; n++) s->row_total[n] = all(0);
    for (long n = 0; n < cols; n++) s->col_total[n] = all(0);
    backward_planes(s);
    for (long head = begin, column = 0; head < end; head++, column += j->w) {
        if (j->channels) project_back(s, dweight, head, column);
        else {
            deliver(j->dq, s->out + column, s, head);
            deliver(j->dv, s->to_v + column, s, head);
            if (j->keys) deliver(j->dk, s->to_k + column, s, head);
        }
        if (!j->relative) continue;
        deliver_table(j->drow + (band * j->heads + head) * rows, s->row_total, rows, s, column);
        deliver_table(j->dcol + (band * j->heads + head) * cols, s->col_total, cols, s, column);
    }
}

/* A group of bands, whose gradient of the weights is one sum: groups depend on the problem, never on the threads. */
static void backward_group(workspace *s, long group) {
    const problem *j = s->job;
    const long all_bands = j->images * j->bands;
    REAL *dweight = j->dweight + group * (j->keys ? 3 : 2) * j->heads * j->d * j->width;
    for (long band = all_bands * group / j->groups; band < all_bands * (group + 1) / j->groups; band++) {
        turn_to(s, band);
        begin_band(s, 1);
        for (long bundle = 0; bundle < bundles(j); bundle++) backward_bundle(s, band, bundle, dweight);
        end_band(s);
    }
}
