"""The three Triton programs of local attention; `gpu.py` starts them. Only this file needs Triton to be imported.

Every thread keeps S neighbouring pixels of a row, with all their channels, in registers. A column of the window is
loaded once and used by each of the S pixels that see it, and every sum over channels stays inside a thread: P, the last
axis of all tiles, is what is spread over the threads. So pixels, and memory along a row, go with the threads, and
nothing passes between them but the sums for the tables.

The cells of a window row are worked on in segments of at most CELLS: the loop over a segment is unrolled, those over
segments and rows are not, so that one compiled program serves all windows of about the same width.

Nothing is vectorized on purpose: pointers are not specialized on their alignment, because wide loads of the aligned
tensors would have the compiler choose layouts in which the sums cross threads.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)  # exponentials are to the base 2, which is what the hardware has
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-1.0e30)  # below every logit, and finite: a difference of two of them is not NaN
NOTHING = tl.constexpr(-0.0)  # x + NOTHING is x for every x, so the compiler leaves the sum out


@triton.jit
def _place(pid, heads, h, w, S: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr):
    """Image, head and their number; row (P) and first column (P) of this program's pixels."""
    groups = (w + S - 1) // S
    blocks = (groups * h + P - 1) // P
    unit = (pid // blocks).to(tl.int64)
    group = (pid % blocks) * P + tl.arange(0, P)
    y, x = group // groups, group % groups * S
    if WIDE:
        y, x = y.to(tl.int64), x.to(tl.int64)
    return unit, unit // heads, unit % heads, y, x


@triton.jit
def _channels(D: tl.constexpr, WIDE: tl.constexpr):
    c = tl.arange(0, D)
    if WIDE:
        c = c.to(tl.int64)
    return c


@triton.jit
def _own(base, c, y, x, sc, sy, sx):
    """Pointers (S, D, P) to the channels c (D) of pixels in the rows y (P) and columns x (S, P)."""
    return base + (c[None, :, None] * sc + (y * sy)[None, None, :] + (x * sx)[:, None, :])


@triton.jit
def _column(base, c, y, x, sc, sy, sx, inside, d: tl.constexpr):
    """The channels (D, P) of one pixel for each thread, zeros where it is not in the image."""
    pointers = base + (c[:, None] * sc + (y * sy + x * sx)[None, :])
    return tl.load(pointers, mask=(c < d)[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def _row_offset(row, c, a, ry, d_row: tl.constexpr):
    """The offset (D) of window row a: the first d_row channels."""
    return tl.load(row + c * (2 * ry + 1) + a, mask=c < d_row, other=0.0).to(tl.float32)


@triton.jit
def _col_mask(c, b, rx, d_row: tl.constexpr, d: tl.constexpr):
    return (c >= d_row) & (c < d) & (0 * c + b <= 2 * rx)  # a tile, because the interpreter stumbles over a scalar


@triton.jit
def _col_offset(col, c, b, rx, d_row: tl.constexpr, d: tl.constexpr):
    """The offset (D) of window column b: the other channels."""
    return tl.load(col + (c - d_row) * (2 * rx + 1) + b, mask=_col_mask(c, b, rx, d_row, d), other=0.0).to(tl.float32)


@triton.jit
def forward_program(
    q, k, v, row, col, out, lse,
    qb, qh, qc, qy, qx, kb, kh, kc, ky, kx, vb, vh, vc, vy, vx, ob, oh, oc, oy, ox,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out and lse of S P queries, by an online softmax: one window row's segment after the other."""
    unit, image, head, y, first_x = _place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), _channels(D, WIDE), tl.arange(0, C)[:, None, None]
    x = first_x[None, :] + s[:, None]
    live = (y < h)[None, :] & (x < w)
    mine = live[:, None, :] & (c < d)[None, :, None]
    query = tl.load(_own(q + image * qb + head * qh, c, y, x, qc, qy, qx), mask=mine, other=0.0).to(tl.float32) * LOG2E
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    seen_by = cell + s[None, :, None]  # cell n of pixel s is in the column n + s of a segment
    most = tl.full([S, P], LOWEST, tl.float32)
    total = tl.zeros([S, P], tl.float32)
    mixed = tl.zeros([S, D, P], tl.float32)
    for segment in range(segments):
        by_col = tl.zeros([C, S, P], tl.float32)
        if TABLES:
            for n in tl.static_range(CELLS):
                offset = _col_offset(col, c, segment * CELLS + n, rx, d_row, d)
                by_col = tl.where(cell == n, tl.sum(query * offset[None, :, None], 1)[None, :, :], by_col)
        is_cell = (cell < CELLS) & (segment * CELLS + cell <= 2 * rx)
        left = first_x + segment * CELLS - rx
        for a in range(2 * ry + 1):
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            logits = tl.full([C, S, P], float("-inf"), tl.float32)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                dots = tl.zeros([S, P], tl.float32)
                if CONTENT:
                    key = _column(keys, c, there, left + j, kc, ky, kx, inside, d)
                    dots = tl.sum(query * key[None, :, :], 1)
                logits = tl.where((seen_by == j) & inside[None, None, :], dots[None, :, :], logits)
            if TABLES:
                by_row = tl.sum(query * _row_offset(row, c, a, ry, d_row)[None, :, None], 1)
                logits += by_col + by_row[None, :, :]
            logits = tl.where(is_cell, logits, float("-inf"))
            top = tl.maximum(most, tl.max(logits, 0))
            weights = tl.exp2(logits - top[None, :, :])
            fade = tl.exp2(most - top)
            most = top
            total = total * fade + tl.sum(weights, 0)
            mixed = mixed * fade[:, None, :]
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                value = _column(values, c, there, left + j, vc, vy, vx, inside, d)
                weight = tl.sum(tl.where(seen_by == j, weights, NOTHING), 0)
                seen = (s <= j) & (j - s < CELLS)
                mixed += tl.where(seen[:, None, None], weight[:, None, :] * value[None, :, :], NOTHING)
    total = tl.where(live, total, 1.0)
    tl.store(_own(out + image * ob + head * oh, c, y, x, oc, oy, ox), mixed / total[:, None, :], mask=mine)
    tl.store(lse + unit * h * w + y[None, :] * w + x, (most + tl.log2(total)) * LN2, mask=live)


@triton.jit
def queries_program(
    grad, q, k, v, row, col, out, lse, mean, offsets, to_q, to_row, to_col,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx, vb, vh, vc, vy, vx, ob, oh, oc, oy, ox,
    tb, th, tc, ty, tx,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The gradient of S P queries, and their part of that of the tables, which the caller adds up.

    For `keys_program` it leaves behind, in float32: mean, grad·out of each query, and offsets, q·row (2 ry + 1 planes)
    and q·col (2 rx + 1 planes), so that a key need not compute them again for each query that sees it.
    """
    pid = tl.program_id(0)
    unit, image, head, y, first_x = _place(pid, heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), _channels(D, WIDE), tl.arange(0, C)[:, None, None]
    x = first_x[None, :] + s[:, None]
    live = (y < h)[None, :] & (x < w)
    mine = live[:, None, :] & (c < d)[None, :, None]
    query = tl.load(_own(q + image * qb + head * qh, c, y, x, qc, qy, qx), mask=mine, other=0.0).to(tl.float32)
    upstream = tl.load(_own(grad + image * gb + head * gh, c, y, x, gc, gy, gx), mask=mine, other=0.0).to(tl.float32)
    result = tl.load(_own(out + image * ob + head * oh, c, y, x, oc, oy, ox), mask=mine, other=0.0).to(tl.float32)
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    pixel = y[None, :] * w + x
    log_total = tl.load(lse + unit * h * w + pixel, mask=live, other=0.0) * LOG2E
    average = tl.sum(upstream * result, 1)
    tl.store(mean + unit * h * w + pixel, average, mask=live)
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    to_row += (pid.to(tl.int64) * segments * d_row) * (2 * ry + 1)
    to_col += (pid.to(tl.int64) * (d - d_row)) * (2 * rx + 1)
    seen_by = cell + s[None, :, None]
    to_query = tl.zeros([S, D, P], tl.float32)
    for segment in range(segments):
        by_col = tl.zeros([C, S, P], tl.float32)
        col_sums = tl.zeros([C, S, P], tl.float32)
        if TABLES:
            for n in tl.static_range(CELLS):
                b = segment * CELLS + n
                logit = tl.sum(query * _col_offset(col, c, b, rx, d_row, d)[None, :, None], 1)
                tl.store(offsets + (2 * ry + 1 + b) * h * w + pixel, logit, mask=live & (0 * x + b <= 2 * rx))
                by_col = tl.where(cell == n, logit[None, :, :], by_col)
        left = first_x + segment * CELLS - rx
        for a in range(2 * ry + 1):
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            by_row = tl.zeros([S, P], tl.float32)
            row_sum = tl.zeros([S, P], tl.float32)
            if TABLES:
                row_offset = _row_offset(row, c, a, ry, d_row)[None, :, None]
                by_row = tl.sum(query * row_offset, 1)
                tl.store(offsets + a * h * w + pixel, by_row, mask=live)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                seen = (s <= j) & (j - s < CELLS)
                sees = seen[:, None] & (segment * CELLS + j - s <= 2 * rx)[:, None] & inside[None, :] & live
                logit = by_row + tl.sum(tl.where(seen_by == j, by_col, NOTHING), 0)
                if CONTENT:
                    key = _column(keys, c, there, left + j, kc, ky, kx, inside, d)
                    logit += tl.sum(query * key[None, :, :], 1)
                value = _column(values, c, there, left + j, vc, vy, vx, inside, d)
                weight = tl.exp2(tl.where(sees, logit * LOG2E - log_total, float("-inf")))
                to_logit = tl.where(sees, weight * (tl.sum(upstream * value[None, :, :], 1) - average), 0.0)
                if CONTENT:
                    to_query += tl.where(seen[:, None, None], to_logit[:, None, :] * key[None, :, :], NOTHING)
                if TABLES:
                    row_sum += tl.where(seen[:, None], to_logit, NOTHING)
                    col_sums += tl.where(seen_by == j, to_logit[None, :, :], NOTHING)
            if TABLES:
                to_query += row_sum[:, None, :] * row_offset
                part = tl.sum(tl.sum(query * row_sum[:, None, :], 0), 1)
                tl.store(to_row + (segment * d_row + c) * (2 * ry + 1) + a, part, mask=c < d_row)
        if TABLES:
            for n in tl.static_range(CELLS):
                b = segment * CELLS + n
                col_sum = tl.sum(tl.where(cell == n, col_sums, NOTHING), 0)
                to_query += col_sum[:, None, :] * _col_offset(col, c, b, rx, d_row, d)[None, :, None]
                part = tl.sum(tl.sum(query * col_sum[:, None, :], 0), 1)
                tl.store(to_col + (c - d_row) * (2 * rx + 1) + b, part, mask=_col_mask(c, b, rx, d_row, d))
    tl.store(_own(to_q + image * tb + head * th, c, y, x, tc, ty, tx), to_query, mask=mine)


@triton.jit
def keys_program(
    grad, q, k, v, lse, mean, offsets, to_k, to_v,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx, vb, vh, vc, vy, vx,
    tb, th, tc, ty, tx, ub, uh, uc, uy, ux,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The gradients of S P keys and values: each gathers from the queries that see it, so nothing is added atomically.

    A key is in cell (a, b) of the query that lies at minus the offset of that cell.
    """
    unit, image, head, y, first_x = _place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c = tl.arange(0, S), _channels(D, WIDE)
    x = first_x[None, :] + s[:, None]
    mine = (y < h)[None, None, :] & (x < w)[:, None, :] & (c < d)[None, :, None]
    value = tl.load(_own(v + image * vb + head * vh, c, y, x, vc, vy, vx), mask=mine, other=0.0).to(tl.float32)
    to_value = tl.zeros([S, D, P], tl.float32)
    if CONTENT:
        key = tl.load(_own(k + image * kb + head * kh, c, y, x, kc, ky, kx), mask=mine, other=0.0).to(tl.float32)
        to_key = tl.zeros([S, D, P], tl.float32)
    queries, upstreams = q + image * qb + head * qh, grad + image * gb + head * gh
    lse += unit * h * w
    mean += unit * h * w
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    for segment in range(segments):
        left = first_x + rx - segment * CELLS - (CELLS - 1)
        for a in range(2 * ry + 1):
            there = y - (a - ry)
            in_row = (there >= 0) & (there < h)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                pixel = there * w + left + j
                n = s + (CELLS - 1 - j)  # the cell of the segment in which the query in this column has pixel s
                seen = (n >= 0) & (n < CELLS)
                b = segment * CELLS + n
                sees = (seen & (b <= 2 * rx))[:, None] & inside[None, :]
                query = _column(queries, c, there, left + j, qc, qy, qx, inside, d)
                upstream = _column(upstreams, c, there, left + j, gc, gy, gx, inside, d)
                logit = tl.zeros([S, P], tl.float32)
                if CONTENT:
                    logit += tl.sum(key * query[None, :, :], 1)
                if TABLES:
                    by_col = offsets + ((2 * ry + 1 + b) * h * w)[:, None] + pixel[None, :]
                    logit += tl.load(by_col, mask=sees, other=0.0)
                    logit += tl.load(offsets + a * h * w + pixel, mask=inside, other=0.0)[None, :]
                log_total = tl.load(lse + pixel, mask=inside, other=0.0)[None, :]
                average = tl.load(mean + pixel, mask=inside, other=0.0)[None, :]
                weight = tl.exp2(tl.where(sees, (logit - log_total) * LOG2E, float("-inf")))
                to_value += tl.where(seen[:, None, None], weight[:, None, :] * upstream[None, :, :], NOTHING)
                if CONTENT:
                    to_logit = tl.where(sees, weight * (tl.sum(value * upstream[None, :, :], 1) - average), 0.0)
                    to_key += tl.where(seen[:, None, None], to_logit[:, None, :] * query[None, :, :], NOTHING)
    if CONTENT:
        tl.store(_own(to_k + image * tb + head * th, c, y, x, tc, ty, tx), to_key, mask=mine)
    tl.store(_own(to_v + image * ub + head * uh, c, y, x, uc, uy, ux), to_value, mask=mine)
