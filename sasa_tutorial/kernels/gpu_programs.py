"""The three Triton programs of local attention; `gpu.py` starts them. Only this file needs Triton to be imported.

Every thread keeps S neighbouring pixels of a row, with all their channels, in registers. A column of the window is
loaded once and used by each of the S pixels that see it, and every sum over channels stays inside a thread: P, the last
axis of all tiles, is what is spread over the threads. So pixels, and memory along a row, go with the threads, and
nothing passes between them but the sums for the tables.

The cells of a window row are worked on in segments of at most CELLS: the loop over a segment is unrolled, those over
segments and rows are not, so that one compiled program serves all windows of about the same width.

Where the columns of an image lie side by side, loads are one number wide on purpose: pointers are not specialized on
their alignment, because wide loads along a row would have the compiler choose layouts in which the sums cross threads.
Where the channels lie side by side, each thread reads those of its pixel 16 bytes at a time. The strides of channels
are constants of a compiled program: the channels of a pixel are one address and constant distances from it.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)  # exponentials are to the base 2, which is what the hardware has
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-1.0e30)  # below every logit, and finite: a difference of two of them is not NaN
NOTHING = tl.constexpr(-0.0)  # x + NOTHING is x for every x, so the compiler leaves the sum out
POINTERS = (
    "grad",
    "q",
    "k",
    "v",
    "row",
    "col",
    "out",
    "lse",
    "mean",
    "offsets",
    "to_q",
    "to_k",
    "to_v",
    "to_row",
    "to_col",
)


@triton.jit
def _now(x, IN_ORDER: tl.constexpr):
    """x, computed before what follows is loaded: else the compiler loads everything first and runs out of registers."""
    if IN_ORDER:
        x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1)
    return x


@triton.jit
def _place(pid, heads, h, w, S: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr):
    """Image, head and their number; row and first column (P) of its pixels."""
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
def _column(
    base, c, y, x, sc: tl.constexpr, sy, sx, h, w,
    d: tl.constexpr, D: tl.constexpr, P: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The channels (D, P) of one pixel for each thread; outside the image those of the nearest pixel inside.

    Its weight is 0 there, and it lies in the same window as the cell it stands for, so that what is not a number
    spreads no further than it does in the equation. Loads without a mask cost one instruction less each.
    """
    y, x = tl.minimum(tl.maximum(y, 0), h - 1), tl.minimum(tl.maximum(x, 0), w - 1)
    pixels = base + (y * sy + x * sx)
    if VECTOR > 0 and sc == 1:
        # Channels lie side by side: each thread reads those of its pixel, 16 bytes at a time.
        i = tl.arange(0, D // VECTOR)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
        wide = tl.multiple_of(pixels[None, None, :] + i[:, :, None], (1, 16, 1))
        if d == D:
            return tl.reshape(tl.load(wide), [D, P]).to(tl.float32)
        else:
            there = (i < d)[:, :, None] & (0 * y == 0)[None, None, :]
            return tl.reshape(tl.load(wide, mask=there, other=0.0), [D, P]).to(tl.float32)
    pointers = pixels[None, :] + c[:, None] * sc
    if d == D:
        return tl.load(pointers).to(tl.float32)
    else:
        return tl.load(pointers, mask=(c < d)[:, None] & (0 * y == 0)[None, :], other=0.0).to(tl.float32)


@triton.jit
def _own(
    base, c, y, x, sc: tl.constexpr, sy, sx, h, w,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The channels (S, D, P) of a program's own pixels, whose first column is x.

    Column by column, as the others are read: at once, the compiler would spread S over the threads.
    """
    s = tl.arange(0, S)[:, None, None]
    tile = tl.zeros([S, D, P], tl.float32)
    for i in tl.static_range(S):
        column = _column(base, c, y, x + i, sc, sy, sx, h, w, d, D, P, VECTOR)
        tile = tl.where(s == i, column[None, :, :], tile)
    return tile


@triton.jit
def _write(base, tile, c, y, x, sc, sy, sx, h, w, d: tl.constexpr, S: tl.constexpr):
    """The reverse of `_own`."""
    s = tl.arange(0, S)[:, None, None]
    for i in tl.static_range(S):
        pointers = (base + (y * sy + (x + i) * sx))[None, :] + c[:, None] * sc
        mine = (c < d)[:, None] & ((y < h) & (x + i < w))[None, :]
        tl.store(pointers, tl.sum(tl.where(s == i, tile, NOTHING), 0), mask=mine)


@triton.jit
def _read_plane(plane, y, x, h, w, S: tl.constexpr, P: tl.constexpr):
    """One number (S, P) for each pixel of a program."""
    s = tl.arange(0, S)[:, None]
    tile = tl.zeros([S, P], tl.float32)
    for i in tl.static_range(S):
        one = tl.load(plane + (y * w + x + i), mask=(y < h) & (x + i < w), other=0.0)
        tile = tl.where(s == i, one[None, :], tile)
    return tile


@triton.jit
def _write_plane(plane, tile, y, x, h, w, S: tl.constexpr):
    """The reverse of `_read_plane`."""
    s = tl.arange(0, S)[:, None]
    for i in tl.static_range(S):
        mine = (y < h) & (x + i < w)
        tl.store(plane + (y * w + x + i), tl.sum(tl.where(s == i, tile, NOTHING), 0), mask=mine)


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


@triton.jit(do_not_specialize=POINTERS)
def forward_program(
    q, k, v, row, col, out, lse,
    qb, qh, qc: tl.constexpr, qy, qx, kb, kh, kc: tl.constexpr, ky, kx,
    vb, vh, vc: tl.constexpr, vy, vx, ob, oh, oc: tl.constexpr, oy, ox,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """out and lse of S P queries, by an online softmax: one window row's segment after the other."""
    unit, image, head, y, x = _place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), _channels(D, WIDE), tl.arange(0, C)[:, None, None]
    query = _own(q + image * qb + head * qh, c, y, x, qc, qy, qx, h, w, d, D, S, P, VECTOR) * LOG2E
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
        left = x + segment * CELLS - rx
        for a in range(2 * ry + 1):
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            logits = tl.full([C, S, P], float("-inf"), tl.float32)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                dots = tl.zeros([S, P], tl.float32)
                if CONTENT:
                    key = _column(keys, c, there, left + j, kc, ky, kx, h, w, d, D, P, VECTOR)
                    dots = _now(tl.sum(query * key[None, :, :], 1), IN_ORDER)
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
                value = _column(values, c, there, left + j, vc, vy, vx, h, w, d, D, P, VECTOR)
                weight = tl.sum(tl.where(seen_by == j, weights, NOTHING), 0)
                seen = (s <= j) & (j - s < CELLS)
                mixed += tl.where(seen[:, None, None], weight[:, None, :] * value[None, :, :], NOTHING)
                mixed = _now(mixed, IN_ORDER)
    total = tl.where(total > 0, total, 1.0)  # only where there is no pixel
    _write(out + image * ob + head * oh, mixed / total[:, None, :], c, y, x, oc, oy, ox, h, w, d, S)
    _write_plane(lse + unit * h * w, (most + tl.log2(total)) * LN2, y, x, h, w, S)


@triton.jit(do_not_specialize=POINTERS)
def queries_program(
    grad, q, k, v, row, col, out, lse, mean, offsets, to_q, to_row, to_col,
    gb, gh, gc: tl.constexpr, gy, gx, qb, qh, qc: tl.constexpr, qy, qx,
    kb, kh, kc: tl.constexpr, ky, kx, vb, vh, vc: tl.constexpr, vy, vx,
    ob, oh, oc: tl.constexpr, oy, ox, tb, th, tc: tl.constexpr, ty, tx,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, d_row: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, C: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The gradient of S P queries, and their part of that of the tables, which the caller adds up.

    For `keys_program` it leaves behind, in float32: mean, grad·out of each query, and offsets, q·row (2 ry + 1 planes)
    and q·col (2 rx + 1 planes), so that a key need not compute them again for each query that sees it.
    """
    pid = tl.program_id(0)
    unit, image, head, y, x = _place(pid, heads, h, w, S, P, WIDE)
    s, c, cell = tl.arange(0, S), _channels(D, WIDE), tl.arange(0, C)[:, None, None]
    query = _own(q + image * qb + head * qh, c, y, x, qc, qy, qx, h, w, d, D, S, P, VECTOR)
    upstream = _own(grad + image * gb + head * gh, c, y, x, gc, gy, gx, h, w, d, D, S, P, VECTOR)
    result = _own(out + image * ob + head * oh, c, y, x, oc, oy, ox, h, w, d, D, S, P, VECTOR)
    keys, values = k + image * kb + head * kh, v + image * vb + head * vh
    live = (y < h)[None, :] & (x[None, :] + s[:, None] < w)
    log_total = _read_plane(lse + unit * h * w, y, x, h, w, S, P) * LOG2E
    average = tl.sum(upstream * result, 1)
    _write_plane(mean + unit * h * w, average, y, x, h, w, S)
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
                logit = _now(tl.sum(query * _col_offset(col, c, b, rx, d_row, d)[None, :, None], 1), IN_ORDER)
                if b <= 2 * rx:
                    _write_plane(offsets + (2 * ry + 1 + b) * h * w, logit, y, x, h, w, S)
                by_col = tl.where(cell == n, logit[None, :, :], by_col)
        left = x + segment * CELLS - rx
        for a in range(2 * ry + 1):
            there = y + (a - ry)
            in_row = (there >= 0) & (there < h)
            by_row = tl.zeros([S, P], tl.float32)
            row_sum = tl.zeros([S, P], tl.float32)
            if TABLES:
                row_offset = _row_offset(row, c, a, ry, d_row)[None, :, None]
                by_row = tl.sum(query * row_offset, 1)
                _write_plane(offsets + a * h * w, by_row, y, x, h, w, S)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                seen = (s <= j) & (j - s < CELLS)
                sees = seen[:, None] & (segment * CELLS + j - s <= 2 * rx)[:, None] & inside[None, :] & live
                logit = by_row + tl.sum(tl.where(seen_by == j, by_col, NOTHING), 0)
                if CONTENT:
                    key = _column(keys, c, there, left + j, kc, ky, kx, h, w, d, D, P, VECTOR)
                    logit += tl.sum(query * key[None, :, :], 1)
                value = _column(values, c, there, left + j, vc, vy, vx, h, w, d, D, P, VECTOR)
                weight = tl.exp2(tl.where(sees, logit * LOG2E - log_total, float("-inf")))
                to_logit = tl.where(sees, weight * (tl.sum(upstream * value[None, :, :], 1) - average), 0.0)
                if CONTENT:
                    to_query += tl.where(seen[:, None, None], to_logit[:, None, :] * key[None, :, :], NOTHING)
                    to_query = _now(to_query, IN_ORDER)
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
                to_query = _now(to_query, IN_ORDER)
                part = tl.sum(tl.sum(query * col_sum[:, None, :], 0), 1)
                tl.store(to_col + (c - d_row) * (2 * rx + 1) + b, part, mask=_col_mask(c, b, rx, d_row, d))
    _write(to_q + image * tb + head * th, to_query, c, y, x, tc, ty, tx, h, w, d, S)


@triton.jit(do_not_specialize=POINTERS)
def keys_program(
    grad, q, k, v, lse, mean, offsets, to_k, to_v,
    gb, gh, gc: tl.constexpr, gy, gx, qb, qh, qc: tl.constexpr, qy, qx,
    kb, kh, kc: tl.constexpr, ky, kx, vb, vh, vc: tl.constexpr, vy, vx,
    tb, th, tc: tl.constexpr, ty, tx, ub, uh, uc: tl.constexpr, uy, ux,
    heads, h, w, ry, rx, segments,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, CONTENT: tl.constexpr, TABLES: tl.constexpr, WIDE: tl.constexpr,
    IN_ORDER: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The gradients of S P keys and values: each gathers from the queries that see it, so nothing is added atomically.

    A key is in cell (a, b) of the query that lies at minus the offset of that cell.
    """
    unit, image, head, y, x = _place(tl.program_id(0), heads, h, w, S, P, WIDE)
    s, c = tl.arange(0, S), _channels(D, WIDE)
    value = _own(v + image * vb + head * vh, c, y, x, vc, vy, vx, h, w, d, D, S, P, VECTOR)
    to_value = tl.zeros([S, D, P], tl.float32)
    if CONTENT:
        key = _own(k + image * kb + head * kh, c, y, x, kc, ky, kx, h, w, d, D, S, P, VECTOR)
        to_key = tl.zeros([S, D, P], tl.float32)
    live = (y < h)[None, :] & (x[None, :] + s[:, None] < w)
    queries, upstreams = q + image * qb + head * qh, grad + image * gb + head * gh
    lse += unit * h * w
    mean += unit * h * w
    offsets += unit * (2 * ry + 2 * rx + 2) * h * w
    for segment in range(segments):
        left = x + rx - segment * CELLS - (CELLS - 1)
        for a in range(2 * ry + 1):
            there = y - (a - ry)
            in_row = (there >= 0) & (there < h)
            for j in tl.static_range(CELLS + S - 1):
                inside = in_row & (left + j >= 0) & (left + j < w)
                pixel = there * w + left + j
                n = s + (CELLS - 1 - j)  # the cell of the segment in which the query in this column has pixel s
                seen = (n >= 0) & (n < CELLS)
                b = segment * CELLS + n
                sees = (seen & (b <= 2 * rx))[:, None] & inside[None, :] & live
                query = _column(queries, c, there, left + j, qc, qy, qx, h, w, d, D, P, VECTOR)
                upstream = _column(upstreams, c, there, left + j, gc, gy, gx, h, w, d, D, P, VECTOR)
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
        _write(to_k + image * tb + head * th, to_key, c, y, x, tc, ty, tx, h, w, d, S)
    _write(to_v + image * ub + head * uh, to_value, c, y, x, uc, uy, ux, h, w, d, S)
