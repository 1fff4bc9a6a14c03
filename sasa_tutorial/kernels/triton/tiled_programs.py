"""The Triton programs of local attention on matrix units: a rectangle of pixels against what its windows see.

A program owns M = QY QX pixels, a rectangle. Their windows together are a rectangle too, 2 ry higher and 2 rx wider,
which is walked through in runs of N pixels of a row: a product of matrices gives all M N logits, also those of pairs
that do not see each other, whose weight is 0. So more is multiplied than in `programs.py`, by units that do it many
times faster, and what counts is the arithmetic between the products. It is kept short: a logit is a product, plus a
number for query and window column, plus one for query and window row; whether a pair is in a window and in the image
is in these numbers too, as minus infinity. In a run of N keys those of the columns (M, N) are the same in every row of
the image and stay in registers, and those of the rows are one number a query, (M).

Names: b_ is a tile in registers, p_ are pointers; m are the program's own pixels, n those it walks over, c channels.
Strides are called after tensor and axis: qb, qh, qc, qy, qx. Planes are those of `programs.py`.

A value that is not a number reaches further than its windows here: 0 times it is not 0.
"""

import triton
import triton.language as tl

from sasa_tutorial.kernels.triton.tiled_tiles import (
    corner,
    in_window,
    load_pixels,
    load_run,
    load_table,
    plane_of,
    product,
    store_pixels,
)
from sasa_tutorial.kernels.triton.tiles import LN2, LOG2E, LOWEST

SIZES = ("heads", "h", "w", "ry", "rx")  # not specialized: compiled once for all


@triton.jit(do_not_specialize=SIZES)
def tiled_forward_program(
    q, k, v, row, col, out, lse, offsets,
    qb, qh, qc, qy, qx, kb, kh, kc, ky, kx, vb, vh, vc, vy, vx, ob, oh, oc, oy, ox,
    heads, h, w, ry, rx,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    QY: tl.constexpr, QX: tl.constexpr, N: tl.constexpr,
    CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out and lse of M queries by an online softmax, a tile of keys after the other."""
    M: tl.constexpr = QY * QX
    unit, image, head, top, left = corner(tl.program_id(0), heads, h, w, QY, QX)
    plane = plane_of(h, w, WIDE)
    m, n = tl.arange(0, M), tl.arange(0, N)
    y, x = top + m // QX, left + m % QX  # (M)
    live = (y < h) & (x < w)
    pixel = y * w + x
    b_q = load_pixels(q + image * qb + head * qh, y, x, qc, qy, qx, h, w, d, D)  # (M, D)
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    p_col = offsets + (2 * ry + 1) * plane
    if TABLES:
        # Products with all offsets at once, (M, A), go to memory, to come back as what each pair of pixels needs.
        o = tl.arange(0, A)
        b_by = product(b_q, load_table(row, 0, d_row, ry, D, A).to(b_q.dtype), PRECISION) * LOG2E
        tl.store(offsets + o[None, :] * plane + pixel[:, None], b_by, mask=live[:, None] & (o <= 2 * ry)[None, :])
        b_by = product(b_q, load_table(col, d_row, d, rx, D, A).to(b_q.dtype), PRECISION) * LOG2E
        tl.store(p_col + o[None, :] * plane + pixel[:, None], b_by, mask=live[:, None] & (o <= 2 * rx)[None, :])
        tl.debug_barrier()
    b_most = tl.full([M], LOWEST, tl.float32)
    b_total = tl.zeros([M, N], tl.float32)
    b_out = tl.zeros([M, D], tl.float32)
    for side in range(left - rx, left + QX + rx, N):
        key_x = side + n  # (N)
        to = key_x[None, :] - x[:, None] + rx  # (M, N): the window column of query m in which key n is
        seen = in_window(to, rx) & ((key_x >= 0) & (key_x < w))[None, :]
        b_col = tl.where(seen, 0.0, float("-inf"))  # (M, N)
        if TABLES:
            b_col = tl.load(p_col + to * plane + pixel[:, None], mask=seen & live[:, None], other=float("-inf"))
        for key_y in range(tl.maximum(top - ry, 0), tl.minimum(top + QY + ry, h)):
            a = key_y - y + ry  # (M): the window row of query m in which this row of keys is
            b_row = tl.where(in_window(a, ry), 0.0, float("-inf"))  # (M)
            if TABLES:
                b_row = tl.load(offsets + a * plane + pixel, mask=in_window(a, ry) & live, other=float("-inf"))
            b_logits = b_col
            if CONTENT:
                b_k = load_run(keys, key_y, key_x, kc, ky, kx, w, d, D)  # (N, D)
                b_logits += product(b_q, tl.trans(b_k), PRECISION) * LOG2E
            b_top = tl.maximum(b_most, tl.max(b_logits, 1) + b_row)
            b_weights = tl.exp2(b_logits - (b_top - b_row)[:, None])
            b_fade = tl.exp2(b_most - b_top)
            b_most = b_top
            b_total = b_total * b_fade[:, None] + b_weights
            b_v = load_run(values, key_y, key_x, vc, vy, vx, w, d, D)  # (N, D)
            b_out = b_out * b_fade[:, None] + product(b_weights.to(b_v.dtype), b_v, PRECISION)
    b_sum = tl.sum(b_total, 1)  # (M)
    b_sum = tl.where(b_sum > 0, b_sum, 1.0)  # only where there is no pixel
    store_pixels(out + image * ob + head * oh, b_out / b_sum[:, None], y, x, oc, oy, ox, h, w, d, D)
    tl.store(lse + unit * h * w + pixel, (b_most + tl.log2(b_sum)) * LN2, mask=live)


@triton.jit(do_not_specialize=SIZES)
def tiled_queries_program(
    grad, q, k, v, row, col, out, lse, mean, offsets, sums, to_q,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx,
    vb, vh, vc, vy, vx, ob, oh, oc, oy, ox, tb, th, tc, ty, tx,
    heads, h, w, ry, rx,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    QY: tl.constexpr, QX: tl.constexpr, N: tl.constexpr,
    CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of M queries; mean, offsets and sums as `queries_program` leaves them, a tile's width a segment."""
    M: tl.constexpr = QY * QX
    unit, image, head, top, left = corner(tl.program_id(0), heads, h, w, QY, QX)
    plane = plane_of(h, w, WIDE)
    m, n, o = tl.arange(0, M), tl.arange(0, N), tl.arange(0, A)
    y, x = top + m // QX, left + m % QX  # (M)
    live = (y < h) & (x < w)
    pixel = y * w + x
    b_q = load_pixels(q + image * qb + head * qh, y, x, qc, qy, qx, h, w, d, D)  # (M, D)
    b_grad = load_pixels(grad + image * gb + head * gh, y, x, gc, gy, gx, h, w, d, D)
    b_out = load_pixels(out + image * ob + head * oh, y, x, oc, oy, ox, h, w, d, D)
    b_mean = tl.sum(b_grad.to(tl.float32) * b_out.to(tl.float32), 1)  # (M)
    tl.store(mean + unit * h * w + pixel, b_mean, mask=live)
    b_lse = tl.load(lse + unit * h * w + pixel, mask=live, other=0.0) * LOG2E  # (M)
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    segments = (QX + 2 * rx + N - 1) // N
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    sums += unit * (segments * (2 * ry + 1) + 2 * rx + 1) * h * w
    p_col, p_col_sums = offsets + (2 * ry + 1) * plane, sums + segments * (2 * ry + 1) * plane
    if TABLES:
        b_by = product(b_q, load_table(row, 0, d_row, ry, D, A).to(b_q.dtype), PRECISION) * LOG2E - b_lse[:, None]
        tl.store(offsets + o[None, :] * plane + pixel[:, None], b_by, mask=live[:, None] & (o <= 2 * ry)[None, :])
        b_by = product(b_q, load_table(col, d_row, d, rx, D, A).to(b_q.dtype), PRECISION) * LOG2E
        tl.store(p_col + o[None, :] * plane + pixel[:, None], b_by, mask=live[:, None] & (o <= 2 * rx)[None, :])
        tl.debug_barrier()
    b_to_q = tl.zeros([M, D], tl.float32)
    for side in range(left - rx, left + QX + rx, N):
        segment = (side - left + rx) // N
        key_x = side + n  # (N)
        to = key_x[None, :] - x[:, None] + rx  # (M, N): the window column of query m in which key n is
        seen = in_window(to, rx) & ((key_x >= 0) & (key_x < w))[None, :]
        b_col = tl.where(seen, 0.0, float("-inf"))  # (M, N)
        if TABLES:
            b_col = tl.load(p_col + to * plane + pixel[:, None], mask=seen & live[:, None], other=float("-inf"))
        b_col_sums = tl.zeros([M, N], tl.float32)
        for key_y in range(top - ry, top + QY + ry):  # rows outside the image too, because their sums are 0
            a = key_y - y + ry  # (M): the window row of query m in which this row of keys is
            row_y = key_y + 0 * y  # (M), because the interpreter stumbles over comparing whole numbers
            reached = in_window(a, ry) & (row_y >= 0) & (row_y < h)
            b_row = tl.where(reached, -b_lse, float("-inf"))  # (M)
            if TABLES:
                b_row = tl.load(offsets + a * plane + pixel, mask=reached & live, other=float("-inf"))
            near = tl.minimum(tl.maximum(key_y, 0), h - 1)  # some row of the image; these weights are 0
            b_logits = b_col + b_row[:, None]
            b_k = load_run(keys, near, key_x, kc, ky, kx, w, d, D)  # (N, D)
            if CONTENT:
                b_logits += product(b_q, tl.trans(b_k), PRECISION) * LOG2E
            b_v = load_run(values, near, key_x, vc, vy, vx, w, d, D)  # (N, D)
            b_along = product(b_grad, tl.trans(b_v), PRECISION) - b_mean[:, None]  # (M, N)
            b_to_logits = tl.exp2(b_logits) * b_along
            if CONTENT:
                b_to_q += product(b_to_logits.to(b_k.dtype), b_k, PRECISION)
            if TABLES:
                b_col_sums += b_to_logits
                p_sum = sums + (segment * (2 * ry + 1) + a) * plane + pixel  # (M)
                tl.store(p_sum, tl.sum(b_to_logits, 1), mask=in_window(a, ry) & live)
        if TABLES:
            tl.store(p_col_sums + to * plane + pixel[:, None], b_col_sums, mask=in_window(to, rx) & live[:, None])
    if TABLES:
        tl.debug_barrier()
        p_sums = p_col_sums + o[None, :] * plane + pixel[:, None]  # (M, A)
        b_sums = tl.load(p_sums, mask=live[:, None] & (o <= 2 * rx)[None, :], other=0.0)
        b_table = load_table(col, d_row, d, rx, D, A).to(b_q.dtype)  # (D, A)
        b_to_q += product(b_sums.to(b_table.dtype), tl.trans(b_table), PRECISION)
        b_sums = tl.zeros([M, A], tl.float32)
        for segment in range(segments):
            p_sums = sums + (segment * (2 * ry + 1) + o)[None, :] * plane + pixel[:, None]
            b_sums += tl.load(p_sums, mask=live[:, None] & (o <= 2 * ry)[None, :], other=0.0)
        b_table = load_table(row, 0, d_row, ry, D, A).to(b_q.dtype)
        b_to_q += product(b_sums.to(b_table.dtype), tl.trans(b_table), PRECISION)
    store_pixels(to_q + image * tb + head * th, b_to_q, y, x, tc, ty, tx, h, w, d, D)


@triton.jit(do_not_specialize=SIZES)
def tiled_keys_program(
    grad, q, k, v, lse, mean, offsets, to_k, to_v,
    gb, gh, gc, gy, gx, qb, qh, qc, qy, qx, kb, kh, kc, ky, kx,
    vb, vh, vc, vy, vx, tb, th, tc, ty, tx, ub, uh, uc, uy, ux,
    heads, h, w, ry, rx,
    d: tl.constexpr, D: tl.constexpr,
    QY: tl.constexpr, QX: tl.constexpr, N: tl.constexpr,
    CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradients of M keys and values, gathered from the tiles of queries that see them, in a fixed order."""
    M: tl.constexpr = QY * QX
    unit, image, head, top, left = corner(tl.program_id(0), heads, h, w, QY, QX)
    plane = plane_of(h, w, WIDE)
    m, n = tl.arange(0, M), tl.arange(0, N)
    y, x = top + m // QX, left + m % QX  # (M)
    b_v = load_pixels(v + image * vb + head * vh, y, x, vc, vy, vx, h, w, d, D)  # (M, D)
    b_to_v = tl.zeros([M, D], tl.float32)
    if CONTENT:
        b_k = load_pixels(k + image * kb + head * kh, y, x, kc, ky, kx, h, w, d, D)  # (M, D)
        b_to_k = tl.zeros([M, D], tl.float32)
    queries, upstreams = q + image * qb + head * qh, grad + image * gb + head * gh
    lse += unit * h * w
    mean += unit * h * w
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    for side in range(left - rx, left + QX + rx, N):
        query_x = side + n  # (N)
        inside = (query_x >= 0) & (query_x < w)
        b = x[:, None] - query_x[None, :] + rx  # (M, N): the window column of query n in which key m is
        seen = in_window(b, rx) & inside[None, :]
        b_seen = tl.where(seen, 0.0, float("-inf"))
        p_col = offsets + (2 * ry + 1 + tl.where(seen, b, 0)) * plane + tl.where(inside, query_x, 0)[None, :]  # (M, N)
        for query_y in range(tl.maximum(top - ry, 0), tl.minimum(top + QY + ry, h)):
            a = y - query_y + ry  # (M): the window row of these queries in which key m is
            pixel = query_y * w + query_x  # (N)
            b_q = load_run(queries, query_y, query_x, qc, qy, qx, w, d, D)  # (N, D)
            b_grad = load_run(upstreams, query_y, query_x, gc, gy, gx, w, d, D)
            b_logits = b_seen
            if TABLES:
                b_logits += tl.load(p_col + query_y * w)
                p_row = offsets + (a * plane)[:, None] + pixel[None, :]  # (M, N)
                b_logits += tl.load(p_row, mask=in_window(a, ry)[:, None] & inside[None, :], other=float("-inf"))
            else:
                b_lse = tl.load(lse + pixel, mask=inside, other=0.0) * LOG2E  # (N)
                b_logits += tl.where(in_window(a, ry)[:, None], -b_lse[None, :], float("-inf"))
            if CONTENT:
                b_logits += product(b_k, tl.trans(b_q), PRECISION) * LOG2E
            b_weights = tl.exp2(b_logits)
            b_to_v += product(b_weights.to(b_grad.dtype), b_grad, PRECISION)
            if CONTENT:
                b_mean = tl.load(mean + pixel, mask=inside, other=0.0)  # (N)
                b_along = product(b_v, tl.trans(b_grad), PRECISION) - b_mean[None, :]
                b_to_k += product((b_weights * b_along).to(b_q.dtype), b_q, PRECISION)
    if CONTENT:
        store_pixels(to_k + image * tb + head * th, b_to_k, y, x, tc, ty, tx, h, w, d, D)
    store_pixels(to_v + image * ub + head * uh, b_to_v, y, x, uc, uy, ux, h, w, d, D)
