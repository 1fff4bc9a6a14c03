"""The three Triton programs of local attention; `operator.py` starts them. Only this file and `tiles.py` need Triton.

Every thread keeps S neighbouring pixels of a row, with all their channels, in registers. A column of the window is
loaded once and used by each of the S pixels that see it, and every sum over channels stays inside a thread: P, the last
axis of all tiles, is what is spread over the threads. So pixels, and memory along a row, go with the threads, and
nothing passes between them but the sums for the tables.

The cells of a window row are worked on in segments of at most CELLS: the loop over a segment is unrolled, those over
segments and rows are not, so that one compiled program serves all windows of about the same width.

Where the columns of an image lie side by side, loads are one number wide on purpose: pointers are not specialized on
their alignment, because wide loads along a row would have the compiler choose layouts in which the sums cross threads.
Where the channels lie side by side, each thread reads those of its pixel 16 bytes at a time: VECTOR numbers, for the
tensors whose bit of LAST is set. Strides, called after tensor and axis (qb, qh, qc, qy, qx), are no constants, so that
one compiled program serves all image sizes.
"""

import triton
import triton.language as tl

from sasa_tutorial.kernels.triton.tiles import (
    LN2,
    LOG2E,
    LOWEST,
    NOTHING,
    anew,
    by_pixel,
    channels,
    col_offset,
    nearest,
    now,
    own,
    place,
    read_column,
    read_plane,
    row_offset,
    write,
    write_plane,
)

# Not specialized: pointers, so that no load becomes wider than it says here, and sizes, to compile once for all.
AS_THEY_ARE = ("grad", "q", "k", "v", "row", "col", "out", "lse", "mean", "offsets")
AS_THEY_ARE += ("sums", "to_q", "to_k", "to_v", "heads", "h", "w", "ry", "rx", "segments")


@triton.jit(do_not_specialize=AS_THEY_ARE)
def forward_program(
    q, k, v, row, col, out, lse,
    qb, qh, qc, qy, qx, kb, kh, kc, ky, kx,
    vb, vh, vc, vy, vx, ob, oh, oc, oy, ox,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """out and lse of S P queries, by an online softmax: one window row's segment after the other."""
    q_wide: tl.constexpr = VECTOR * (LAST >> 0 & 1)
    k_wide: tl.constexpr = VECTOR * (LAST >> 1 & 1)
    v_wide: tl.constexpr = VECTOR * (LAST >> 2 & 1)
    o_wide: tl.constexpr = VECTOR * (LAST >> 3 & 1)
    unit, image, head, plane, y, x = place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), channels(D, WIDE), tl.arange(0, C)[:, None, None]
    query = own(q + image * qb + head * qh, c, y, x, qc, qy, qx, h, w, d, D, S, P, q_wide) * LOG2E
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    seen_by = cell + s[None, :, None]  # cell n of pixel s is in the column n + s of a segment
    most = tl.full([S, P], LOWEST, tl.float32)
    total = tl.zeros([S, P], tl.float32)
    mixed = tl.zeros([S, D, P], tl.float32)
    for segment in range(segments):
        by_col = tl.zeros([C, S, P], tl.float32)
        if TABLES:
            for n in tl.static_range(CELLS):
                offset = col_offset(col, c, segment * CELLS + n, rx, d_row, d)
                by_col = tl.where(cell == n, tl.sum(query * offset[None, :, None], 1)[None, :, :], by_col)
        is_cell = (cell < CELLS) & (segment * CELLS + cell <= 2 * rx)
        left = x + segment * CELLS - rx
        for a in range(2 * ry + 1):
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            logits = tl.full([C, S, P], float("-inf"), tl.float32)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                dots = tl.zeros([S, P], tl.float32)
                if CONTENT:
                    key = read_column(keys, c, there, left + j, kc, ky, kx, h, w, d, D, P, k_wide)
                    dots = now(tl.sum(query * key[None, :, :], 1), IN_ORDER)
                logits = tl.where((seen_by == j) & inside[None, None, :], dots[None, :, :], logits)
            if TABLES:
                by_row = tl.sum(query * row_offset(row, c, a, ry, d_row)[None, :, None], 1)
                logits += by_col + by_row[None, :, :]
            logits = tl.where(is_cell, logits, float("-inf"))
            top = tl.maximum(most, tl.max(logits, 0))
            weights = tl.exp2(logits - top[None, :, :])
            fade = tl.exp2(most - top)
            most = top
            total = total * fade + tl.sum(weights, 0)
            mixed = mixed * fade[:, None, :]
            for j in tl.static_range(CELLS + S - 1):
                value = read_column(values, c, there, left + j, vc, vy, vx, h, w, d, D, P, v_wide)
                weight = tl.sum(tl.where(seen_by == j, weights, NOTHING), 0)
                seen = (s <= j) & (j - s < CELLS)
                mixed += tl.where(seen[:, None, None], weight[:, None, :] * value[None, :, :], NOTHING)
                mixed = now(mixed, IN_ORDER)
    total = tl.where(total > 0, total, 1.0)  # only where there is no pixel
    write(out + image * ob + head * oh, mixed / total[:, None, :], c, y, x, oc, oy, ox, h, w, d, D, S, P, o_wide)
    write_plane(lse + unit * plane, (most + tl.log2(total)) * LN2, y, x, h, w, S)


@triton.jit(do_not_specialize=AS_THEY_ARE)
def queries_program(
    grad, q, k, v, row, col, out, lse, mean, offsets, sums, to_q,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx,
    vb, vh, vc, vy, vx, ob, oh, oc, oy, ox, tb, th, tc, ty, tx,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """The gradient of S P queries, and what the rest of the backward pass needs of them, in float32 planes.

    mean: grad·out of each query.
    offsets: what the tables add to its logits, to the base 2: q·row - lse for each window row, q·col for each column.
        `keys_program` reads them and need not compute them again for each query that sees a key.
    sums: the gradients of its logits, summed over each row of its window (a plane a segment) and over each column.
        The gradients of the tables are their products with the queries, which the caller leaves to a library.
    """
    g_wide: tl.constexpr = VECTOR * (LAST >> 0 & 1)
    q_wide: tl.constexpr = VECTOR * (LAST >> 1 & 1)
    k_wide: tl.constexpr = VECTOR * (LAST >> 2 & 1)
    v_wide: tl.constexpr = VECTOR * (LAST >> 3 & 1)
    o_wide: tl.constexpr = VECTOR * (LAST >> 4 & 1)
    t_wide: tl.constexpr = VECTOR * (LAST >> 5 & 1)
    unit, image, head, plane, y, x = place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), channels(D, WIDE), tl.arange(0, C)[:, None, None]
    upstream = own(grad + image * gb + head * gh, c, y, x, gc, gy, gx, h, w, d, D, S, P, g_wide)  # (S, D, P)
    result = own(out + image * ob + head * oh, c, y, x, oc, oy, ox, h, w, d, D, S, P, o_wide)
    average = tl.sum(upstream * result, 1)  # (S, P)
    write_plane(mean + unit * plane, average, y, x, h, w, S)
    query = own(q + image * qb + head * qh, c, y, x, qc, qy, qx, h, w, d, D, S, P, q_wide) * LOG2E
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    log_total = read_plane(lse + unit * plane, y, x, h, w, S, P) * LOG2E
    rows, cols = 2 * ry + 1, segments * CELLS
    offsets += unit * (rows + cols) * plane
    sums += unit * (segments * rows + cols) * plane
    seen_by = cell + s[None, :, None]
    to_query = tl.zeros([S, D, P], tl.float32)
    for segment in range(segments):
        by_col = tl.zeros([C, S, P], tl.float32)
        col_sums = tl.zeros([C, S, P], tl.float32)
        if TABLES:
            for n in tl.static_range(CELLS):
                b = segment * CELLS + n
                logit = now(tl.sum(query * col_offset(col, c, b, rx, d_row, d)[None, :, None], 1), IN_ORDER)
                write_plane(offsets + (rows + b) * plane, logit, y, x, h, w, S)
                by_col = tl.where(cell == n, logit[None, :, :], by_col)
        for a in range(rows):
            left = anew(x + segment * CELLS - rx, IN_ORDER)
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            by_row = -log_total
            row_sum = tl.zeros([S, P], tl.float32)
            if TABLES:
                by_row += tl.sum(query * row_offset(row, c, a, ry, d_row)[None, :, None], 1)
                write_plane(offsets + a * plane, by_row, y, x, h, w, S)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                seen = (s <= j) & (j - s < CELLS)
                sees = seen[:, None] & (segment * CELLS + j - s <= 2 * rx)[:, None] & inside[None, :]
                logit = by_row + tl.sum(tl.where(seen_by == j, by_col, NOTHING), 0)
                if CONTENT:
                    key = read_column(keys, c, there, left + j, kc, ky, kx, h, w, d, D, P, k_wide)  # (D, P)
                    logit += tl.sum(query * key[None, :, :], 1)
                value = read_column(values, c, there, left + j, vc, vy, vx, h, w, d, D, P, v_wide)
                weight = tl.exp2(tl.where(sees, logit, float("-inf")))
                to_logit = tl.where(sees, weight * (tl.sum(upstream * value[None, :, :], 1) - average), 0.0)
                if CONTENT:
                    to_query += tl.where(seen[:, None, None], to_logit[:, None, :] * key[None, :, :], NOTHING)
                    to_query = now(to_query, IN_ORDER)
                if TABLES:
                    row_sum += tl.where(seen[:, None], to_logit, NOTHING)
                    col_sums += tl.where(seen_by == j, to_logit[None, :, :], NOTHING)
            if TABLES:
                to_query += row_sum[:, None, :] * row_offset(row, c, a, ry, d_row)[None, :, None]
                write_plane(sums + (segment * rows + a) * plane, row_sum, y, x, h, w, S)
        if TABLES:
            for n in tl.static_range(CELLS):
                b = segment * CELLS + n
                col_sum = tl.sum(tl.where(cell == n, col_sums, NOTHING), 0)
                write_plane(sums + (segments * rows + b) * plane, col_sum, y, x, h, w, S)
                again = anew(b + 0 * c, IN_ORDER)
                to_query += col_sum[:, None, :] * col_offset(col, c, again, rx, d_row, d)[None, :, None]
                to_query = now(to_query, IN_ORDER)
    write(to_q + image * tb + head * th, to_query, c, y, x, tc, ty, tx, h, w, d, D, S, P, t_wide)


@triton.jit(do_not_specialize=AS_THEY_ARE)
def keys_program(
    grad, q, k, v, lse, mean, offsets, to_k, to_v,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx,
    vb, vh, vc, vy, vx, tb, th, tc, ty, tx, ub, uh, uc, uy, ux,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """The gradients of S P keys and values: each gathers from the queries that see it, so nothing is added atomically.

    A key is in cell (a, b) of the query that lies at minus the offset of that cell.
    """
    g_wide: tl.constexpr = VECTOR * (LAST >> 0 & 1)
    q_wide: tl.constexpr = VECTOR * (LAST >> 1 & 1)
    k_wide: tl.constexpr = VECTOR * (LAST >> 2 & 1)
    v_wide: tl.constexpr = VECTOR * (LAST >> 3 & 1)
    t_wide: tl.constexpr = VECTOR * (LAST >> 4 & 1)
    u_wide: tl.constexpr = VECTOR * (LAST >> 5 & 1)
    unit, image, head, plane, y, x = place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c = tl.arange(0, S), channels(D, WIDE)
    value = own(v + image * vb + head * vh, c, y, x, vc, vy, vx, h, w, d, D, S, P, v_wide)  # (S, D, P)
    to_value = tl.zeros([S, D, P], tl.float32)
    if CONTENT:
        key = own(k + image * kb + head * kh, c, y, x, kc, ky, kx, h, w, d, D, S, P, k_wide) * LOG2E
        to_key = tl.zeros([S, D, P], tl.float32)
    queries, upstreams = q + image * qb + head * qh, grad + image * gb + head * gh
    rows, cols = 2 * ry + 1, segments * CELLS
    lse += unit * plane
    mean += unit * plane
    offsets += unit * (rows + cols) * plane
    for segment in range(segments):
        for a in range(rows):
            left = anew(x + rx - segment * CELLS - (CELLS - 1), IN_ORDER)
            there = y - (a - ry)
            in_row = (there >= 0) & (there < h)
            # A column ahead: what the next one needs is on its way while this one is computed.
            query = read_column(queries, c, there, left, qc, qy, qx, h, w, d, D, P, q_wide)  # (D, P)
            upstream = read_column(upstreams, c, there, left, gc, gy, gx, h, w, d, D, P, g_wide)
            for j in tl.static_range(CELLS + S - 1):
                if j < CELLS + S - 2:
                    next_query = read_column(queries, c, there, left + j + 1, qc, qy, qx, h, w, d, D, P, q_wide)
                    next_upstream = read_column(upstreams, c, there, left + j + 1, gc, gy, gx, h, w, d, D, P, g_wide)
                inside = in_row & (left + j >= 0) & (left + j < w)  # (P)
                pixel = nearest(there, h) * w + nearest(left + j, w)
                n = s + (CELLS - 1 - j)  # the cell of the segment in which the query in this column has pixel s
                seen = (n >= 0) & (n < CELLS)
                b = segment * CELLS + n
                sees = (seen & (b <= 2 * rx))[:, None] & inside[None, :]
                logit = tl.zeros([S, P], tl.float32)
                if TABLES:
                    by_col = by_pixel(offsets + (rows + b) * plane, pixel[None, :])
                    logit += tl.load(by_col, mask=seen[:, None] & (0 * pixel == 0)[None, :], other=0.0)
                    logit += tl.load(offsets + a * plane + pixel)[None, :]
                else:
                    logit -= tl.load(lse + pixel)[None, :] * LOG2E
                if CONTENT:
                    logit += tl.sum(key * query[None, :, :], 1)
                weight = tl.exp2(tl.where(sees, logit, float("-inf")))
                to_value += tl.where(seen[:, None, None], weight[:, None, :] * upstream[None, :, :], NOTHING)
                if CONTENT:
                    along = tl.sum(value * upstream[None, :, :], 1) - tl.load(mean + pixel)[None, :]
                    to_logit = tl.where(sees, weight * along, 0.0)
                    to_key += tl.where(seen[:, None, None], to_logit[:, None, :] * query[None, :, :], NOTHING)
                if j < CELLS + S - 2:
                    query, upstream = next_query, next_upstream
    if CONTENT:
        write(to_k + image * tb + head * th, to_key, c, y, x, tc, ty, tx, h, w, d, D, S, P, t_wide)
    write(to_v + image * ub + head * uh, to_value, c, y, x, uc, uy, ux, h, w, d, D, S, P, u_wide)
